//! Small file systems of their own, where the tests may mount any.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::require::skip;

/// A file system in memory or in a file; unmounted when this is dropped.
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Mounts one of so many MiB. `None` if that is not allowed: the test says that it is skipped.
    pub fn tmpfs(path: &Path, mib: u64) -> Option<Mount> {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("size={mib}m");
        let mounted = mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], path);
        if !mounted {
            skip("a tmpfs cannot be mounted here (that takes root on Linux)");
        }
        mounted.then(|| Mount { path: path.to_owned() })
    }

    /// Mounts the one in a file, likewise.
    pub fn image(image: &Path, path: &Path) -> Option<Mount> {
        std::fs::create_dir_all(path).unwrap();
        let image = image.to_str().unwrap();
        let mounted = mount(&["-o", "loop", image], path);
        if !mounted {
            skip("a file cannot be mounted here (that takes root and loop devices on Linux)");
        }
        mounted.then(|| Mount { path: path.to_owned() })
    }

    /// From here on nothing can be written there.
    pub fn set_read_only(&self) {
        assert!(mount(&["-o", "remount,ro"], &self.path));
    }
}

fn mount(args: &[&str], path: &Path) -> bool {
    let output = Command::new("mount").args(args).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may not have let go of it.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
