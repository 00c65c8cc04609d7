//! How many worker threads: one for each CPU that the cgroup's quota gives. Where there is no quota, two: a sidecar that
//! starts a thread for each of a node's 64 cores pays for them in every Pod.

use std::fs;
use std::thread::available_parallelism;

/// Without a CPU limit.
const MOST_WITHOUT_QUOTA: usize = 2;

/// Of this process, as it stands.
pub fn workers() -> usize {
    // the standard library counts whole CPUs of affinity and quota, at least one
    let cpus = available_parallelism().map_or(1, usize::from);
    if has_quota(|path| fs::read_to_string(path).ok()) { cpus } else { cpus.min(MOST_WITHOUT_QUOTA) }
}

/// Whether a cgroup above this process limits its CPU time. Reads by a function, so that tests need no cgroups.
fn has_quota(read: impl Fn(&str) -> Option<String>) -> bool {
    let cgroups = read("/proc/self/cgroup").unwrap_or_default();
    // cgroups(7): "hierarchy-ID:controller-list:cgroup-path"; version 2 is hierarchy 0 without controllers
    cgroups.lines().any(|line| {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            return false;
        };
        if controllers.is_empty() {
            ancestors(path).any(|path| {
                // "$MAX $PERIOD"
                read(&format!("/sys/fs/cgroup{path}/cpu.max")).is_some_and(|text| !text.trim().starts_with("max"))
            })
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            ancestors(path).any(|path| {
                let quota = read(&format!("/sys/fs/cgroup/{controllers}{path}/cpu.cfs_quota_us"))
                    .or_else(|| read(&format!("/sys/fs/cgroup/cpu{path}/cpu.cfs_quota_us")));
                // -1 is none
                quota.and_then(|text| text.trim().parse::<i64>().ok()).is_some_and(|quota| quota > 0)
            })
        } else {
            false
        }
    })
}

/// The cgroup and those above it, up to the root of what this process sees, which is the empty text.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    // a container without a cgroup namespace sees the host's path, but its own files at the root
    std::iter::successors(Some(path.trim_end_matches('/')), |path| path.rfind('/').map(|end| &path[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(files: &[(&str, &str)]) -> bool {
        has_quota(|path| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).into()))
    }

    #[test]
    fn version_2_is_read_up_to_the_root() {
        let cgroup = ("/proc/self/cgroup", "0::/pod/container\n");
        assert!(quota(&[cgroup, ("/sys/fs/cgroup/pod/container/cpu.max", "50000 100000\n")]));
        assert!(quota(&[cgroup, ("/sys/fs/cgroup/pod/cpu.max", "50000 100000\n")]));
        assert!(quota(&[("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/cpu.max", "200000 100000\n")]));
        assert!(!quota(&[cgroup, ("/sys/fs/cgroup/pod/container/cpu.max", "max 100000\n")]));
        assert!(!quota(&[cgroup]));
    }

    #[test]
    fn version_1_is_read_where_either_name_is_mounted() {
        let cgroup = ("/proc/self/cgroup", "5:memory:/pod\n4:cpu,cpuacct:/pod\n");
        assert!(quota(&[cgroup, ("/sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us", "50000\n")]));
        assert!(quota(&[cgroup, ("/sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us", "50000\n")]));
        assert!(quota(&[cgroup, ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n")]));
        assert!(!quota(&[cgroup, ("/sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us", "-1\n")]));
    }

    #[test]
    fn without_cgroups_there_is_no_quota() {
        assert!(!quota(&[]));
        assert!(!quota(&[("/proc/self/cgroup", "nonsense\n")]));
        assert!(workers() >= 1);
    }
}
