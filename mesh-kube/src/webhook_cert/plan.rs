//! What to do next about the webhook's certificate. Pure: what is there and what time it is go in, one step comes out.
//!
//! The life of a CA: it is made, and signs; after two thirds of its life another one is *introduced* beside it, which
//! signs nothing yet; once the API server has had a minute with both in its caBundle, the new one signs the certificate
//! that is served, and the old one is *retiring*: still trusted while replicas may serve what it signed; then dropped.

use jiff::{SignedDuration, Timestamp};

use super::material::{Rotation, Set};

/// From the bundle's being in the configurations to serving what only the bundle makes valid. API servers hear of
/// changes within a second; several of them, under load, within a few.
const LEARNING: SignedDuration = SignedDuration::from_secs(60);

/// The Secret as it was read.
#[derive(Debug)]
pub enum State {
    Missing,
    /// Why it can't be used.
    Broken(String),
    Good(Box<Set>),
}

/// All configurations carry this bundle, and have done so for as long as this replica knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub bundle: String,
    pub since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Keep,
    /// A new CA and a new certificate; whatever was before is gone.
    Create,
    /// A new CA beside the one that signed what is served.
    IntroduceCa,
    /// A certificate by the CA that was introduced.
    SwitchLeaf,
    /// A certificate by the same CA as before.
    RenewLeaf,
    /// Only one CA is left.
    DropOldCa,
}

impl Step {
    /// For Events.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Keep => "Kept",
            Self::Create => "Created",
            Self::IntroduceCa => "CaIntroduced",
            Self::SwitchLeaf => "CaSwitched",
            Self::RenewLeaf => "Renewed",
            Self::DropOldCa => "OldCaDropped",
        }
    }

    /// For Events and the log.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Keep => "nothing to do",
            Self::Create => "made a new CA and a new certificate",
            Self::IntroduceCa => "made a new CA; it signs once the API server trusts it beside the old one",
            Self::SwitchLeaf => "the new CA has signed the certificate; the old one stays trusted for a while",
            Self::RenewLeaf => "renewed the certificate",
            Self::DropOldCa => "the old CA is no longer trusted",
        }
    }
}

/// `last_good` is what this replica serves, where that is known.
pub fn plan(
    state: &State,
    last_good: Option<&Set>,
    names: &[String],
    published: Option<&Published>,
    now: Timestamp,
) -> Step {
    let alive = |set: &Set| !set.ca.validity.is_over(now) && !set.leaf.validity.is_over(now);
    let set = match (state, last_good) {
        (State::Good(set), _) => set,
        // Somebody wants (or needs) new ones, but nobody wants failing calls.
        (State::Missing | State::Broken(_), Some(last)) if alive(last) => return Step::IntroduceCa,
        (State::Missing | State::Broken(_), _) => return Step::Create,
    };
    if set.ca.validity.is_over(now) {
        return Step::Create;
    }
    // More names than wanted are fine: during an update two versions of us may want different ones.
    let lacks_a_name = names.iter().any(|name| !set.names.contains(name));
    let leaf_due = lacks_a_name || now >= set.leaf.validity.renewal();
    match &set.rotation {
        Rotation::Introduced { .. } => {
            let bundle = set.bundle();
            let known = published.filter(|published| published.bundle == bundle);
            let learned = known.is_some_and(|published| now.duration_since(published.since) >= LEARNING);
            // A certificate that is over helps nobody to learn.
            if learned || set.leaf.validity.is_over(now) { Step::SwitchLeaf } else { Step::Keep }
        }
        Rotation::Retiring { until, .. } if now >= *until => Step::DropOldCa,
        Rotation::Settled if now >= set.ca.validity.renewal() => Step::IntroduceCa,
        Rotation::Retiring { .. } | Rotation::Settled if leaf_due => Step::RenewLeaf,
        Rotation::Retiring { .. } | Rotation::Settled => Step::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::super::material::{Signed, Validity};
    use super::*;

    const DAY: i64 = 24 * 3600;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn signed(name: &str, from: i64, until: i64) -> Signed {
        let validity = Validity { from: at(from), until: at(until) };
        Signed { certificate: format!("{name}\n"), key: String::new(), validity }
    }

    fn set(rotation: Rotation) -> Set {
        Set { ca: signed("ca", 0, 3600 * DAY), leaf: signed("leaf", 0, 90 * DAY), names: names(), rotation }
    }

    fn names() -> Vec<String> {
        vec!["injector.svc".into()]
    }

    fn introduced() -> Set {
        set(Rotation::Introduced { old: "old\n".into(), since: at(0) })
    }

    fn retiring() -> Set {
        set(Rotation::Retiring { old: "old\n".into(), until: at(DAY) })
    }

    #[test]
    fn a_table_over_time() {
        let settled = || set(Rotation::Settled);
        let late_leaf = || Set { leaf: signed("leaf", 2350 * DAY, 2440 * DAY), ..settled() };
        let more_names = || Set { names: [names(), vec!["elsewhere.svc".into()]].concat(), ..settled() };
        let other_names = || Set { names: vec!["elsewhere.svc".into()], ..settled() };
        let rows: Vec<(&str, Set, i64, Step)> = vec![
            ("fresh", settled(), 0, Step::Keep),
            ("almost two thirds", settled(), 60 * DAY - 1, Step::Keep),
            ("two thirds of the leaf", settled(), 60 * DAY, Step::RenewLeaf),
            ("the leaf is over", settled(), 91 * DAY, Step::RenewLeaf),
            ("a wanted name is missing", other_names(), 0, Step::RenewLeaf),
            ("there are more names than wanted", more_names(), 0, Step::Keep),
            ("almost two thirds of the CA", late_leaf(), 2400 * DAY - 1, Step::Keep),
            ("two thirds of the CA", late_leaf(), 2400 * DAY, Step::IntroduceCa),
            ("two thirds of both: the CA first", settled(), 2400 * DAY, Step::IntroduceCa),
            ("the CA is over", settled(), 3600 * DAY, Step::Create),
            ("introduced, not published", introduced(), DAY, Step::Keep),
            ("introduced, leaf due: the switch brings one", introduced(), 70 * DAY, Step::Keep),
            ("introduced, leaf over", introduced(), 90 * DAY, Step::SwitchLeaf),
            ("retiring", retiring(), DAY - 1, Step::Keep),
            ("retired", retiring(), DAY, Step::DropOldCa),
            ("retired, and the leaf due: one after the other", retiring(), 70 * DAY, Step::DropOldCa),
        ];
        for (what, set, now, expected) in rows {
            assert_eq!(plan(&State::Good(Box::new(set)), None, &names(), None, at(now)), expected, "{what}");
        }
        let renamed = Set { names: Vec::new(), ..retiring() };
        assert_eq!(plan(&State::Good(Box::new(renamed)), None, &names(), None, at(0)), Step::RenewLeaf);
    }

    #[test]
    fn a_new_ca_signs_when_its_own_bundle_has_been_published_for_a_minute() {
        let step = |bundle: &str, since, now| {
            let published = Published { bundle: bundle.into(), since: at(since) };
            plan(&State::Good(Box::new(introduced())), None, &names(), Some(&published), at(now))
        };
        assert_eq!(introduced().bundle(), "ca\nold\n");
        assert_eq!(step("ca\nold\n", 100, 159), Step::Keep);
        assert_eq!(step("ca\nold\n", 100, 160), Step::SwitchLeaf);
        assert_eq!(step("old\n", 100, 160), Step::Keep, "another bundle");
        assert_eq!(step("ca\nold\n", 100, 50), Step::Keep, "the clock was set back");
    }

    #[test]
    fn a_lost_secret_becomes_a_new_ca_beside_the_old_one_if_anybody_knows_that() {
        for lost in [State::Missing, State::Broken("garbage".into())] {
            let step = |last: Option<&Set>, now| plan(&lost, last, &names(), None, at(now));
            assert_eq!(step(None, 0), Step::Create);
            assert_eq!(step(Some(&set(Rotation::Settled)), 0), Step::IntroduceCa);
            assert_eq!(step(Some(&introduced()), 0), Step::IntroduceCa);
            assert_eq!(step(Some(&retiring()), 0), Step::IntroduceCa);
            assert_eq!(step(Some(&set(Rotation::Settled)), 90 * DAY), Step::Create, "what is over protects no call");
        }
    }
}
