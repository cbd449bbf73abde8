//! Every target on its seeds, on what once broke it, and on pseudo-random inputs. What is found
//! here is found again: nothing depends on time or chance.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

// Code that is instrumented for it does not link without it.
#[cfg(feature = "libfuzzer")]
use libfuzzer_sys as _;
use quorate_fuzz::random::Random;
use quorate_fuzz::{TARGETS, Target};

/// All targets, or the one that QUORATE_FUZZ_TARGET names.
fn targets() -> impl Iterator<Item = &'static Target> {
    let only = std::env::var("QUORATE_FUZZ_TARGET").ok();
    TARGETS.iter().filter(move |target| only.as_deref().is_none_or(|only| only == target.name))
}

/// How many made-up inputs each target is run on; QUORATE_FUZZ_INPUTS says otherwise.
fn inputs() -> u64 {
    std::env::var("QUORATE_FUZZ_INPUTS").map_or(4000, |count| count.parse().expect("a number"))
}

fn directory(kind: &str, target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target.name)
}

/// The files of a directory, in the order of their names; none if it is not there.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.expect("a directory that is read");
            let bytes = std::fs::read(entry.path()).expect("a file");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    files.sort();
    files
}

/// Runs a target, and says on which input it broke.
fn run(target: &Target, what: &str, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let file = std::env::temp_dir().join(format!("quorate-fuzz-{}", target.name));
        std::fs::write(&file, input).expect("there is room for the input");
        panic!("{} breaks on {what}: {}", target.name, file.display());
    }
}

#[test]
fn every_target_holds_on_its_seeds_and_on_what_once_broke_it() {
    for target in targets() {
        let seeds = files(&directory("corpus-seeds", target));
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for (name, input) in seeds.iter().chain(&files(&directory("regressions", target))) {
            run(target, name, input);
        }
    }
}

#[test]
fn the_committed_seeds_are_what_the_targets_say() {
    for target in targets() {
        let directory = directory("corpus-seeds", target);
        let seeds = (0..).zip((target.seeds)());
        let seeds: Vec<_> =
            seeds.map(|(number, seed): (u32, _)| (number.to_string(), seed)).collect();
        if std::env::var_os("QUORATE_FUZZ_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(&directory).expect("a directory");
            for (name, seed) in &seeds {
                std::fs::write(directory.join(name), seed).expect("a file");
            }
        }
        assert_eq!(files(&directory), seeds, "QUORATE_FUZZ_WRITE_SEEDS=1 writes them anew");
    }
}

#[test]
fn every_target_holds_on_made_up_inputs() {
    for target in targets() {
        let seeds = (target.seeds)();
        for number in 0..inputs() {
            let mut random = Random(number);
            let input = match number % 2 {
                0 => {
                    let length = [8, 40, 200, 1500][random.below(4)];
                    let length = random.below(length);
                    random.bytes(length)
                }
                _ => {
                    let seed = &seeds[random.below(seeds.len())];
                    random.mutated(seed)
                }
            };
            run(target, &format!("input {number}"), &input);
        }
    }
}
