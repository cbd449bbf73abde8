//! The cores of the machine, and what is bound to which.

use std::future::Future;
use std::process::Command;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::require::skip;

/// One core of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Core(usize);

impl Core {
    /// Two different ones. `None` if there is one only, or if programs cannot be bound to one: the
    /// test says that it is skipped.
    pub fn two() -> Option<[Core; 2]> {
        let usable = sched_getaffinity(None).unwrap();
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| usable.is_set(*core)).map(Core);
        let two = cores.next().zip(cores.next()).map(Into::into);
        if two.is_none() {
            skip("this machine has one core");
        }
        let can_bind = Command::new("taskset").arg("--version").output().is_ok();
        if !can_bind {
            skip("taskset is missing, of util-linux");
        }
        two.filter(|_| can_bind)
    }

    /// Runs a node's program on this core.
    pub fn wrapper(self) -> Vec<String> {
        ["taskset", "--cpu-list", &self.0.to_string()].map(str::to_owned).to_vec()
    }

    /// Has this core do what a test does.
    pub fn run(self, test: impl Future<Output = ()> + Send + 'static) {
        let bind = move || {
            let mut core = CpuSet::new();
            core.set(self.0);
            sched_setaffinity(None, &core).unwrap();
        };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.enable_all().on_thread_start(bind).build().unwrap();
        runtime.block_on(runtime.spawn(test)).unwrap();
    }
}
