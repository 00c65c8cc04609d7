use super::*;
use crate::testing::TempDir;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

/// So long that within a test only the watch can have noticed.
const NEVER: Duration = Duration::from_secs(3600);
const NAME: &str = "proxy.v1.json";

/// What the kubelet does to a ConfigMap volume (pkg/volume/util/atomic_writer.go): a new directory, a new symlink,
/// a rename, and the old directory goes.
struct Kubelet<'a> {
    volume: &'a Path,
    writes: u32,
}

impl Kubelet<'_> {
    fn write(&mut self, content: &str) {
        self.writes += 1;
        let old = fs::read_link(self.volume.join("..data")).ok();
        let new = format!("..2026_11_21_12_00_00.{}", self.writes);
        fs::create_dir(self.volume.join(&new)).unwrap();
        fs::set_permissions(self.volume.join(&new), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(self.volume.join(&new).join(NAME), content).unwrap();
        symlink(&new, self.volume.join("..data_tmp")).unwrap();
        fs::rename(self.volume.join("..data_tmp"), self.volume.join("..data")).unwrap();
        match old {
            None => symlink(format!("..data/{NAME}"), self.volume.join(NAME)).unwrap(),
            Some(old) => fs::remove_dir_all(self.volume.join(old)).unwrap(),
        }
    }
}

/// The next event in words; an error would otherwise hang until the runner gives up.
async fn next(events: &mut mpsc::Receiver<Event>) -> String {
    match timeout(Duration::from_secs(60), events.recv()).await.expect("an event") {
        Some(Event::Changed { bytes, hash: found }) => {
            assert_eq!(found, hash(&bytes));
            String::from_utf8(bytes.to_vec()).unwrap()
        }
        Some(Event::Missing) => "missing".into(),
        Some(Event::Unreadable(error)) => format!("unreadable: {:?}", error.kind()),
        None => "end".into(),
    }
}

fn no_inotify(_: Waker) -> notify::Result<Box<dyn Watcher + Send>> {
    Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch))
}

#[test]
fn hashes_are_lower_case_hex_with_the_algorithm_before_them() {
    assert_eq!(hash(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[tokio::test]
async fn every_rotation_by_the_kubelet_is_heard() {
    let dir = TempDir::new();
    let mut kubelet = Kubelet { volume: dir.path(), writes: 0 };
    kubelet.write("one");
    let mut events = watch_file(dir.path(), NAME, NEVER);
    assert_eq!(next(&mut events).await, "one");
    for content in ["two", "three", "four", "five"] {
        kubelet.write(content);
        assert_eq!(next(&mut events).await, content);
    }
}

#[tokio::test]
async fn a_plain_file_is_heard_when_it_comes_changes_and_goes() {
    let dir = TempDir::new();
    let file = dir.path().join(NAME);
    let mut events = watch_file(dir.path(), NAME, NEVER);
    assert_eq!(next(&mut events).await, "missing");
    fs::write(&file, "one").unwrap();
    assert_eq!(next(&mut events).await, "one");
    // As editors do.
    fs::write(dir.path().join(".swap"), "two").unwrap();
    fs::rename(dir.path().join(".swap"), &file).unwrap();
    assert_eq!(next(&mut events).await, "two");
    fs::remove_file(&file).unwrap();
    assert_eq!(next(&mut events).await, "missing");
    fs::create_dir(&file).unwrap();
    assert_eq!(next(&mut events).await, "unreadable: IsADirectory");
}

#[tokio::test]
async fn the_same_content_again_is_no_event() {
    let dir = TempDir::new();
    let mut kubelet = Kubelet { volume: dir.path(), writes: 0 };
    kubelet.write("one");
    let mut events = watch_file(dir.path(), NAME, NEVER);
    assert_eq!(next(&mut events).await, "one");
    kubelet.write("one");
    kubelet.write("two");
    assert_eq!(next(&mut events).await, "two");
}

/// Time is paused here and below: it jumps to the next look as soon as the test waits.
#[tokio::test(start_paused = true)]
async fn without_a_watch_every_rotation_is_found_by_looking() {
    let dir = TempDir::new();
    let mut kubelet = Kubelet { volume: dir.path(), writes: 0 };
    let mut events = watch_with(dir.path().into(), NAME, DEFAULT_POLL, Box::new(no_inotify));
    assert_eq!(next(&mut events).await, "missing");
    for content in ["one", "two", "three"] {
        kubelet.write(content);
        let before = Instant::now();
        assert_eq!(next(&mut events).await, content);
        assert!(before.elapsed() <= DEFAULT_POLL);
    }
}

#[tokio::test(start_paused = true)]
async fn the_directory_may_come_later_and_is_watched_from_then_on() {
    let dir = TempDir::new();
    let volume = dir.path().join("not/yet");
    let mut events = watch_file(&volume, NAME, DEFAULT_POLL);
    assert_eq!(next(&mut events).await, "missing");
    fs::create_dir_all(&volume).unwrap();
    Kubelet { volume: &volume, writes: 0 }.write("one");
    assert_eq!(next(&mut events).await, "one");
}

#[tokio::test]
async fn a_directory_put_in_place_of_another_is_watched_in_its_turn() {
    let dir = TempDir::new();
    let volume = dir.path().join("volume");
    let fill = |content| {
        fs::create_dir(&volume).unwrap();
        Kubelet { volume: &volume, writes: 0 }.write(content);
    };
    fill("one");
    let mut events = watch_file(&volume, NAME, Duration::from_millis(100));
    assert_eq!(next(&mut events).await, "one");
    for content in ["two", "three"] {
        fs::remove_dir_all(&volume).unwrap();
        while next(&mut events).await != "missing" {}
        fill(content);
        assert_eq!(next(&mut events).await, content);
    }
    fs::rename(&volume, dir.path().join("aside")).unwrap();
    fill("four");
    loop {
        match next(&mut events).await.as_str() {
            "four" => break,
            "missing" | "three" => {}
            other => panic!("nobody wrote {other:?}"),
        }
    }
}

#[test]
fn the_watch_moves_to_the_directory_that_is_there_now() {
    let dir = TempDir::new();
    let volume = dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let waker = Waker { directory: volume.clone(), wake: Arc::default(), lost: Arc::default() };
    let file = volume.join(NAME);
    let mut eye =
        Eye { directory: volume.clone(), file, waker, make: Box::new(inotify), watching: None, failed: false };
    let mut identity = || {
        eye.open();
        eye.watching.as_ref().map(|(_, identity)| *identity)
    };
    let first = identity();
    assert!(first.is_some());
    fs::rename(&volume, dir.path().join("aside")).unwrap();
    assert_eq!(identity(), None);
    fs::create_dir(&volume).unwrap();
    let second = identity();
    assert!(second.is_some() && second != first);
    assert_eq!(identity(), second);
}

#[tokio::test(start_paused = true)]
async fn reading_wakes_nobody() {
    use notify::EventHandler as _;
    use notify::event::RemoveKind;
    let mut waker = Waker { directory: "/volume".into(), wake: Arc::default(), lost: Arc::default() };
    for (kind, path, expected) in [
        (EventKind::Access(AccessKind::Open(AccessMode::Any)), "/volume/file", (false, false)),
        (EventKind::Access(AccessKind::Close(AccessMode::Read)), "/volume/file", (false, false)),
        (EventKind::Access(AccessKind::Close(AccessMode::Write)), "/volume/file", (true, false)),
        (EventKind::Remove(RemoveKind::File), "/volume/file", (true, false)),
        (EventKind::Remove(RemoveKind::Folder), "/volume", (true, true)),
    ] {
        waker.handle_event(Ok(notify::Event::new(kind).add_path(path.into())));
        let woken = timeout(QUIET, waker.wake.notified()).await.is_ok();
        assert_eq!((woken, waker.lost.swap(false, Ordering::Relaxed)), expected, "{kind:?} {path}");
    }
}

#[tokio::test]
async fn dropping_the_receiver_ends_the_task() {
    let dir = TempDir::new();
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut events = watch_file(dir.path(), NAME, NEVER);
    assert_eq!(next(&mut events).await, "missing");
    drop(events);
    while tokio::runtime::Handle::current().metrics().num_alive_tasks() > before {
        tokio::task::yield_now().await;
    }
}
