//! That no file of the checks holds two properties, and no other file any.

use std::fs;
use std::path::Path;

/// The files below a directory that hold more than one property; and how many properties there are.
fn crowded(directory: &Path) -> (Vec<String>, usize) {
    let (mut crowded, mut all) = (Vec::new(), 0);
    for entry in fs::read_dir(directory).expect("the sources are there") {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() {
            let (more, count) = self::crowded(&path);
            crowded.extend(more);
            all += count;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let count = properties(&fs::read_to_string(&path).expect("a source can be read"));
            if count > 1 {
                crowded.push(format!("{}: {count} properties", path.display()));
            }
            all += count;
        }
    }
    (crowded, all)
}

/// How many constants of that type a source declares.
fn properties(source: &str) -> usize {
    source.matches(concat!(": ", "Property =")).count()
}

#[test]
fn each_file_of_the_checks_holds_one_property_at_most() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (in_one_file, count) = crowded(&sources.join("checks"));
    assert!(in_one_file.is_empty(), "{in_one_file:#?}");
    assert!(count > 40, "{count} properties were found");
    let (_, everywhere) = crowded(&sources);
    assert_eq!(everywhere, count, "there are some outside of the checks");
}

#[test]
fn a_second_property_of_a_file_is_found() {
    let one = format!("const ONE{} Property {{ .. }};", concat!(": ", "Property ="));
    assert_eq!([0, 1, 2].map(|count| properties(&one.repeat(count))), [0, 1, 2]);
}
