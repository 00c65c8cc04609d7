//! CAs and certificates: what belongs together, and how the next set is made from the one before. ECDSA P-256.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::plan::Step;

const CA_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// The API server's clock may be behind ours.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
/// An old CA stays trusted for so long at most: replicas switch within seconds, and never serve what the Secret doesn't say.
const RETIREMENT: SignedDuration = SignedDuration::from_hours(24);

/// What the Secret holds, whole and consistent.
#[derive(Clone, PartialEq, Eq)]
pub struct Set {
    /// Signs from now on.
    pub ca: Signed,
    /// Is served.
    pub leaf: Signed,
    /// The names in the leaf.
    pub names: Vec<String>,
    pub rotation: Rotation,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
    pub validity: Validity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: Timestamp,
    pub until: Timestamp,
}

/// Whether there is another CA beside the one that signs, and which of them signed the leaf.
#[derive(Clone, PartialEq, Eq)]
pub enum Rotation {
    /// No other one.
    Settled,
    /// The other one signed it; ours is being made known.
    Introduced { old: String, since: Timestamp },
    /// Ours signed it; the other one is still trusted.
    Retiring { old: String, until: Timestamp },
}

impl Rotation {
    pub fn old(&self) -> Option<&str> {
        match self {
            Self::Settled => None,
            Self::Introduced { old, .. } | Self::Retiring { old, .. } => Some(old),
        }
    }
}

impl Set {
    /// What callers have to trust.
    pub fn bundle(&self) -> String {
        let mut bundle = self.ca.certificate.clone();
        bundle.push_str(self.rotation.old().unwrap_or_default());
        bundle
    }
}

/// Keys are nobody's business.
impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ca, leaf, names, rotation } = self;
        let phase = match rotation {
            Rotation::Settled => "settled",
            Rotation::Introduced { .. } => "introduced",
            Rotation::Retiring { .. } => "retiring",
        };
        let (ca, leaf) = (ca.validity, leaf.validity);
        f.debug_struct("Set")
            .field("ca", &ca)
            .field("leaf", &leaf)
            .field("names", names)
            .field("rotation", &phase)
            .finish()
    }
}

impl Validity {
    fn starting(now: Timestamp, life: SignedDuration) -> Self {
        let now = whole_seconds(now);
        Self { from: now - BACKDATED, until: now + life }
    }

    /// After two thirds.
    pub fn renewal(&self) -> Timestamp {
        self.until - self.until.duration_since(self.from) / 3
    }

    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.until
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (from, until) = text.split_once('/')?;
        let validity = Self { from: from.parse().ok()?, until: until.parse().ok()? };
        (validity.from < validity.until).then_some(validity)
    }
}

impl std::fmt::Display for Validity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.from, self.until)
    }
}

/// Certificates know no smaller unit.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The set after `step`. `base` is what there was; without it, or where a step makes no sense for it, all is new.
pub fn next(step: Step, base: Option<&Set>, names: &[String], now: Timestamp) -> Result<Set, rcgen::Error> {
    let Some(base) = base.filter(|_| step != Step::Create) else {
        let ca = new_ca(now)?;
        return Ok(Set { leaf: issue(&ca, names, now)?, ca, names: names.to_vec(), rotation: Rotation::Settled });
    };
    Ok(match step {
        Step::Keep | Step::Create => base.clone(),
        Step::IntroduceCa => {
            let signer = match &base.rotation {
                // That one never signed anything, so nobody misses it.
                Rotation::Introduced { old, .. } => old,
                Rotation::Settled | Rotation::Retiring { .. } => &base.ca.certificate,
            };
            let rotation = Rotation::Introduced { old: signer.clone(), since: whole_seconds(now) };
            Set { ca: new_ca(now)?, rotation, ..base.clone() }
        }
        Step::SwitchLeaf | Step::RenewLeaf => {
            let rotation = match &base.rotation {
                Rotation::Introduced { old, .. } => {
                    let until = whole_seconds(now + RETIREMENT).min(base.leaf.validity.until);
                    Rotation::Retiring { old: old.clone(), until }
                }
                other => other.clone(),
            };
            let names = names_after(&base.names, names);
            Set { ca: base.ca.clone(), leaf: issue(&base.ca, &names, now)?, names, rotation }
        }
        Step::DropOldCa => Set { rotation: Rotation::Settled, ..base.clone() },
    })
}

/// Those that are wanted. While some of them are missing, those that there are stay too: whoever wanted them may still be
/// running, and would put them back, and take ours out, and so on.
fn names_after(there: &[String], wanted: &[String]) -> Vec<String> {
    let mut names = wanted.to_vec();
    if wanted.iter().any(|name| !there.contains(name)) {
        names.extend(there.iter().filter(|name| !wanted.contains(name)).cloned());
    }
    names
}

fn new_ca(now: Timestamp) -> Result<Signed, rcgen::Error> {
    let key = KeyPair::generate()?;
    let validity = Validity::starting(now, CA_LIFE);
    let certificate = ca_params(&key, validity).self_signed(&key)?.pem();
    Ok(Signed { certificate, key: key.serialize_pem(), validity })
}

/// The same for the same key, so that an issuer can be had again without reading its certificate. The name tells two
/// CAs apart: verifiers look for an issuer by name first.
fn ca_params(key: &KeyPair, validity: Validity) -> CertificateParams {
    let mut params = valid(CertificateParams::default(), validity);
    let id: String = params.key_identifier(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = name(format!("outrigger webhook CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn issue(ca: &Signed, names: &[String], now: Timestamp) -> Result<Signed, rcgen::Error> {
    let ca_key = KeyPair::from_pem(&ca.key)?;
    let issuer = Issuer::new(ca_params(&ca_key, ca.validity), ca_key);
    let key = KeyPair::generate()?;
    let mut validity = Validity::starting(now, LEAF_LIFE);
    validity.until = validity.until.min(ca.validity.until);
    let mut params = valid(CertificateParams::new(names)?, validity);
    params.distinguished_name = name("outrigger webhook".to_owned());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(Signed { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem(), validity })
}

fn valid(mut params: CertificateParams, validity: Validity) -> CertificateParams {
    // rcgen takes the time crate's type, and gives one of its values; the rest is adding seconds.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(validity.from);
    params.not_after = epoch + since_epoch(validity.until);
    params
}

pub fn since_epoch(time: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default())
}

fn name(common: String) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use mesh_runtime::tls;

    fn names() -> Vec<String> {
        vec!["injector.outrigger-system.svc".into(), "injector.outrigger-system.svc.cluster.local".into()]
    }

    fn now() -> Timestamp {
        "2026-11-21T12:00:00.5Z".parse().unwrap()
    }

    /// One set for each phase, as they follow from one another.
    pub fn phases() -> Vec<Set> {
        let steps = [Step::Create, Step::IntroduceCa, Step::SwitchLeaf, Step::RenewLeaf, Step::DropOldCa];
        let mut sets: Vec<Set> = Vec::new();
        for step in steps {
            sets.push(next(step, sets.last(), &names(), now()).unwrap());
        }
        sets
    }

    #[test]
    fn times_are_those_of_the_certificates() {
        let set = phases().remove(0);
        assert_eq!(set.leaf.validity.to_string(), "2026-11-21T11:00:00Z/2027-02-19T12:00:00Z");
        assert_eq!(set.ca.validity.to_string(), "2026-11-21T11:00:00Z/2036-11-18T12:00:00Z");
        assert_eq!(set.leaf.validity.renewal().to_string(), "2027-01-20T11:40:00Z");
        let at = |time: &str| {
            let time: Timestamp = time.parse().unwrap();
            let (leaf, ca) = (set.leaf.certificate.as_bytes(), set.ca.certificate.as_bytes());
            tls::check_chain(leaf, ca, &names(), since_epoch(time)).is_ok()
        };
        let seconds = ["2026-11-21T10:59:59Z", "2026-11-21T11:00:00Z", "2027-02-19T12:00:00Z", "2027-02-19T12:00:01Z"];
        assert_eq!(seconds.map(at), [false, true, true, false]);
    }

    #[test]
    fn a_leaf_never_outlives_its_ca() {
        let set = phases().remove(0);
        let late = set.ca.validity.until - SignedDuration::from_hours(24);
        let renewed = next(Step::RenewLeaf, Some(&set), &names(), late).unwrap();
        assert_eq!(renewed.leaf.validity.until, set.ca.validity.until);
    }

    #[test]
    fn a_rotation_keeps_trusting_whoever_signed_what_is_served() {
        let [created, introduced, switched, renewed, dropped] = <[Set; 5]>::try_from(phases()).unwrap();
        assert!(introduced.leaf == created.leaf && introduced.ca != created.ca);
        assert_eq!(introduced.bundle(), format!("{}{}", introduced.ca.certificate, created.ca.certificate));
        assert!(switched.bundle() == introduced.bundle() && switched.leaf != created.leaf);
        assert!(renewed.bundle() == switched.bundle() && renewed.leaf != switched.leaf);
        assert!(dropped.bundle() == switched.ca.certificate && dropped.leaf == renewed.leaf);

        let again = next(Step::IntroduceCa, Some(&introduced), &names(), now()).unwrap();
        assert_eq!(again.bundle(), format!("{}{}", again.ca.certificate, created.ca.certificate));
    }

    #[test]
    fn two_versions_that_want_different_names_come_to_rest() {
        let [old, new] = [vec!["a".to_owned(), "b".to_owned()], vec!["b".to_owned(), "c".to_owned()]];
        let both = names_after(&old, &new);
        assert_eq!(both, ["b", "c", "a"]);
        assert!(old.iter().chain(&new).all(|name| both.contains(name)), "neither lacks one now");
        assert_eq!(names_after(&both, &new), new, "the next renewal, when it is time");
    }
}
