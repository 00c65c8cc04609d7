use super::*;
use crate::fake_api::FakeApi;
use serde_json::json;
use tokio::time::sleep;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/outrigger-system/leases/outrigger-operator";

struct Replica {
    leads: watch::Receiver<bool>,
    shutdown: Shutdown,
    client: usize,
}

impl Replica {
    fn start(server: &FakeApi, identity: &str) -> Self {
        let (client, number) = server.numbered_client();
        let shutdown = Shutdown::new();
        let leads = campaign(client, "outrigger-system", "outrigger-operator", identity, shutdown.clone());
        Self { leads, shutdown, client: number }
    }

    fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// How long until it says so.
    async fn until(&self, wanted: bool) -> Duration {
        let start = Instant::now();
        let mut leads = self.leads.clone();
        timeout(Duration::from_secs(300), leads.wait_for(|leads| *leads == wanted)).await.expect("in time").unwrap();
        start.elapsed()
    }
}

fn spec(server: &FakeApi) -> LeaseSpec {
    serde_json::from_value(server.get(PATH).expect("a lease")["spec"].clone()).unwrap()
}

#[test]
fn what_is_done_about_a_record() {
    let held = |holder: &str, seconds| LeaseSpec {
        holder_identity: Some(holder.into()),
        lease_duration_seconds: seconds,
        ..LeaseSpec::default()
    };
    let free = LeaseSpec::default();
    for (record, unchanged, expected) in [
        (None, 0, Decision::Create),
        (Some(&free), 0, Decision::TakeOver),
        (Some(&held("", Some(15))), 0, Decision::TakeOver),
        (Some(&held("me", Some(15))), 0, Decision::Renew),
        (Some(&held("me", Some(15))), 99, Decision::Renew),
        (Some(&held("other", Some(15))), 14, Decision::Wait),
        (Some(&held("other", Some(15))), 15, Decision::TakeOver),
        (Some(&held("other", Some(60))), 59, Decision::Wait),
        (Some(&held("other", None)), 14, Decision::Wait),
        (Some(&held("other", None)), 15, Decision::TakeOver),
        (Some(&held("other", Some(-1))), 14, Decision::Wait),
    ] {
        assert_eq!(decide(record, Duration::from_secs(unchanged), "me"), expected, "{record:?} for {unchanged} s");
    }
}

#[tokio::test(start_paused = true)]
async fn the_second_waits_until_the_first_gives_the_lease_back() {
    let server = FakeApi::new();
    let mut first = Replica::start(&server, "a");
    first.until(true).await;
    let second = Replica::start(&server, "b");
    sleep(DURATION * 10).await;
    assert!(first.leads() && !second.leads());
    assert_eq!((spec(&server).holder_identity.as_deref(), spec(&server).lease_transitions), (Some("a"), Some(0)));

    first.shutdown.trigger();
    released(&mut first.leads).await;
    assert!(!first.leads());
    assert_eq!(spec(&server).holder_identity, None);
    assert!(second.until(true).await <= RETRY);
    assert_eq!((spec(&server).holder_identity.as_deref(), spec(&server).lease_transitions), (Some("b"), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_the_next_one_begins() {
    let server = FakeApi::new();
    let first = Replica::start(&server, "a");
    first.until(true).await;
    let second = Replica::start(&server, "b");
    sleep(RENEW * 3).await;

    server.cut_off(first.client, true);
    assert!(first.until(false).await <= DURATION - MARGIN);
    assert!(!second.leads());
    let gap = second.until(true).await;
    assert!(gap >= MARGIN && gap <= MARGIN + RENEW + RETRY, "{gap:?}");

    server.cut_off(first.client, false);
    sleep(DURATION * 3).await;
    assert!(!first.leads() && second.leads());
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_clock_is_wrong_is_waited_for_all_the_same() {
    let server = FakeApi::new();
    for renewed in ["2001-01-01T00:00:00.000000Z", "2101-01-01T00:00:00.000000Z"] {
        let record = json!({"holderIdentity": "gone", "leaseDurationSeconds": 15, "renewTime": renewed});
        server.put(PATH, json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": record}));
        let mut replica = Replica::start(&server, "a");
        let waited = replica.until(true).await;
        assert!(waited >= DURATION && waited <= DURATION + RETRY, "{renewed}: {waited:?}");
        replica.shutdown.trigger();
        released(&mut replica.leads).await;
    }
}

#[tokio::test(start_paused = true)]
async fn errors_and_conflicts_cost_the_leadership_only_when_they_last() {
    let server = FakeApi::new();
    let replica = Replica::start(&server, "a");
    replica.until(true).await;
    for code in [409, 500] {
        server.answer_with(move |asked| (asked.method == "PUT").then_some((code, "not now")));
        sleep(RETRY * 2).await;
        assert!(replica.leads(), "{code} for a moment");
        server.answer_with(|_| None);
        sleep(RENEW * 2).await;
        assert!(replica.leads());
    }
    server.answer_with(|_| Some((500, "etcd is away")));
    assert!(replica.until(false).await <= DURATION - MARGIN);
    server.answer_with(|_| None);
    assert!(replica.until(true).await <= RETRY);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_take_over_at_once_one_leads() {
    let server = FakeApi::new();
    let replicas: Vec<Replica> = ["a", "b", "c"].iter().map(|identity| Replica::start(&server, identity)).collect();
    sleep(RENEW).await;
    assert_eq!(replicas.iter().filter(|replica| replica.leads()).count(), 1);
}

/// Whoever is cut off when, and for how long: two never lead at once, and somebody leads again soon after.
#[tokio::test(start_paused = true)]
async fn there_are_never_two_leaders() {
    let server = FakeApi::new();
    let replicas: Vec<Replica> = ["a", "b", "c"].iter().map(|identity| Replica::start(&server, identity)).collect();
    // A fixed sequence that looks like none (the multiplier is Knuth's).
    let mut dice: u32 = 1;
    let mut roll = |sides: u32| {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (dice >> 16) % sides
    };
    let mut changes = 0;
    let mut leader = None;
    for _ in 0..400 {
        let target = &replicas[roll(3) as usize];
        server.cut_off(target.client, roll(2) == 0);
        for _ in 0..roll(200) {
            sleep(Duration::from_millis(100)).await;
            let leaders: Vec<usize> = (0..3).filter(|index| replicas[*index].leads()).collect();
            assert!(leaders.len() <= 1, "{leaders:?}");
            if let Some(now) = leaders.first() {
                changes += usize::from(leader.replace(*now) != Some(*now));
            }
        }
    }
    assert!(changes > 10, "{changes}");
    for replica in &replicas {
        server.cut_off(replica.client, false);
    }
    sleep(DURATION + RETRY + REQUEST).await;
    assert_eq!(replicas.iter().filter(|replica| replica.leads()).count(), 1);
}
