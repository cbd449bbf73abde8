//! A power cut: other than a process that is killed, it takes what was written and never synced.
//!
//! All nodes keep their data on a file system of its own, in a file. While all who write to it stand
//! still, the file is copied, and again until two copies agree: what the file system still holds back in
//! memory is not in it. Then the nodes go on from the copy.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::histories::Recording;
use super::mount::Mount;
use super::processes::Nodes;

const IMAGE_MIB: u64 = 48;

/// After so many cuts it must have shown that they take what was never synced. Now and then the file system
/// syncs by itself.
const MOST_CUTS: usize = 10;

/// How many cuts there are at least.
const CUTS: usize = 2;

const SMALL_FILES: [&str; 4] = ["--segment-bytes", "65536", "--snapshot-bytes", "100000"];

/// What the file holds, as soon as it is the same twice.
fn settled(image: &Path) -> Vec<u8> {
    let mut before = fs::read(image).unwrap();
    loop {
        let content = fs::read(image).unwrap();
        if content == before {
            return content;
        }
        before = content;
    }
}

fn made_file_system(image: &Path) -> bool {
    fs::File::create(image).unwrap().set_len(IMAGE_MIB << 20).unwrap();
    let output = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image).output();
    output.is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let dir = tempfile::Builder::new().prefix("kv-power-").tempdir().unwrap();
    let image = |number: usize| dir.path().join(format!("disk-{number}"));
    let disk = dir.path().join("disk");
    if !made_file_system(&image(0)) {
        return super::require::skip("there is no mkfs.ext4");
    }
    let Some(mut mount) = Mount::image(&image(0), &disk) else { return };
    let mut nodes = Nodes::new(3, &SMALL_FILES);
    (1..=3).for_each(|id| nodes.set_data(id, disk.join(format!("node-{id}"))));
    nodes.start_all().await;
    nodes.leader().await;
    let recording = Recording::start(&nodes);
    let (mut cut, mut takes_what_was_not_synced) = (0, false);
    while cut < CUTS || !takes_what_was_not_synced {
        cut += 1;
        assert!(cut <= MOST_CUTS, "what was never synced was there after each cut");
        recording.progress(400).await;
        (1..=3).for_each(|id| nodes.pause(id));
        for id in 1..=3 {
            // A sync that one of them still waits for would take along what is written now.
            nodes.stands_still(id).await;
        }
        let never_synced = disk.join(format!("never-synced-{cut}"));
        fs::write(&never_synced, "x").unwrap();
        let content = settled(&image(cut - 1));
        nodes.kill_all().await;
        drop(mount);
        fs::write(image(cut), content).unwrap();
        mount = Mount::image(&image(cut), &disk).expect("it could be mounted before");
        fs::remove_file(image(cut - 1)).unwrap();
        takes_what_was_not_synced |= !never_synced.exists();
        nodes.start_all().await;
        recording.progress(200).await;
    }
    nodes.converge().await;
    recording.check().await;
    drop(nodes);
    drop(mount);
}
