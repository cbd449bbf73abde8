//! `docs/KNOWN_MISTAKES.md` names tests: they exist.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, text);
        } else if name.ends_with(".rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_that_is_named_exists_and_every_row_names_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/KNOWN_MISTAKES.md")).unwrap();
    let mut text = String::new();
    for dir in ["core", "raft", "vsr", "storage", "sim", "src", "tests", "examples", "handoff"] {
        sources(&root.join(dir), &mut text);
    }
    let is_test =
        |name: &str| name.contains('_') && name.chars().all(|c| c.is_lowercase() || c == '_');
    let mut by_construction = 0;
    let mut named = BTreeSet::new();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    for row in rows.filter(|row| !row.starts_with("| mistake")) {
        let here = row.split('|').nth(3).unwrap();
        let tests: Vec<&str> = here.split('`').filter(|part| is_test(part)).collect();
        by_construction += usize::from(tests.is_empty());
        assert!(!tests.is_empty() || here.contains("*by construction*"), "{row}");
        named.extend(tests);
    }
    let is_test = |name: &str| {
        let declaration = format!("fn {name}(");
        text.match_indices(&declaration).any(|(at, _)| {
            let above = text[..at].trim_end_matches("async ").trim_end();
            above.lines().next_back().is_some_and(|line| line.contains("test"))
        })
    };
    let missing: Vec<&&str> = named.iter().filter(|name| !is_test(name)).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
    assert!(named.len() > 40 && by_construction <= 5);
}
