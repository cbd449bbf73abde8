//! The page in a real browser: it is used as a person would use it, by [`in_page.js`](in_page.js),
//! which notes what is not as it should be.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use quorate_raft::Raft;
use quorate_sim::{Canary, Failed, Report, Simulated, Simulation};
use quorate_vsr::Vsr;
use serde_json::Value;

const IN_PAGE: &str = include_str!("in_page.js");

/// Stands before the page's own scripts.
const WATCH: &str = "<script>
    const wrongs = [];
    addEventListener('error', (event) => wrongs.push(event.message));
    addEventListener('securitypolicyviolation', (event) => wrongs.push(`wants ${event.blockedURI}`));
    console.error = console.warn = (...words) => wrongs.push(words.join(' '));
</script>";

/// Stands behind them.
const REPORT: &str = "<script>
    const watched = document.createElement('pre');
    watched.id = 'wrongs';
    watched.textContent = JSON.stringify(wrongs);
    document.body.append(watched);
</script>";

/// A Chromium that can be started. Without, tests are skipped; where nothing may be, they fail.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        let missing = "no Chromium is installed (Debian: apt-get install chromium)";
        let is_required = std::env::var("QUORATE_REQUIRE").is_ok_and(|what| what == "all");
        assert!(!is_required, "{missing}");
        // Of a test that passes, what it prints is not shown.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
    }
    found
}

/// The part of a page between two texts.
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let (_, behind) = page.split_once(from).unwrap_or_else(|| panic!("no {from} in the page"));
    behind.split_once(to).unwrap_or_else(|| panic!("no {to} behind {from}")).0
}

/// Opens the page of a run, uses it, and returns the record and what was seen in the page.
fn used<P: Simulated>(simulation: &Simulation<P>) -> Option<(Value, Value)> {
    let chromium = chromium()?;
    let (_, picture) = simulation.draw();
    let html = picture.html("again </script> & again");
    let record = between(&html, "id=\"record\">", "</script>");
    let record: Value = serde_json::from_str(record).expect("the record is JSON");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.html");
    let page = html
        .replacen("<head>", &format!("<head>{WATCH}"), 1)
        .replace("</body>", &format!("<script>{IN_PAGE}</script>{REPORT}</body>"));
    fs::write(&file, page).expect("a file");
    let output = Command::new("timeout")
        .arg("180")
        .arg(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--window-size=1400,900", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("Chromium starts");
    let document = String::from_utf8_lossy(&output.stdout);
    let unescaped =
        |text: &str| text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let read = |id: &str| -> Value {
        let text = unescaped(between(&document, &format!("<pre id=\"{id}\">"), "</pre>"));
        serde_json::from_str(&text).expect("JSON")
    };
    let what = format!("{} {simulation:?}", P::NAME);
    assert_eq!(read("wrongs"), Value::Array(vec![]), "{what}");
    let results = read("results");
    assert_eq!(results["wrong"], Value::Array(vec![]), "{what}");
    Some((record, results["seen"].clone()))
}

fn length(record: &Value, table: &str, column: &str) -> usize {
    record[table][column].as_array().map_or(0, Vec::len)
}

/// The simulation of the first seed whose run is of a kind.
fn first<P: Simulated>(
    simulation: impl Fn(u64) -> Simulation<P>,
    is_wanted: impl Fn(Result<Report, Box<Failed>>) -> bool,
) -> Simulation<P> {
    let found = (1..30).map(simulation).find(|simulation| is_wanted(simulation.run()));
    found.expect("some seed is like that")
}

/// Everything that was recorded is in the page, with what the messages say, and nothing in it looks odd.
fn shows_a_good_run<P: Simulated>(replicas: usize, claims: &[&str]) {
    let simulation = first(
        |seed| Simulation::new(seed).protocol::<P>().replicas(replicas),
        |run| run.is_ok_and(|report| report.is_full()),
    );
    let Some((record, seen)) = used(&simulation) else { return };
    for (table, column) in [
        ("arrows", "sent"),
        ("moments", "time"),
        ("writes", "asked"),
        ("requests", "begun"),
        ("states", "time"),
    ] {
        assert_eq!(seen[table], length(&record, table, column), "{table}");
        assert!(length(&record, table, column) > 300, "{table}");
    }
    assert_eq!(seen["listed"], length(&record, "arrows", "sent"));
    assert_eq!(seen["understood"], seen["arrows"], "{} {simulation:?}", P::NAME);
    for claim in claims {
        let is_made =
            seen["claims"].as_array().is_some_and(|made| made.iter().any(|it| it == claim));
        assert!(is_made, "{} {simulation:?}: nobody {claim}", P::NAME);
    }
    assert_eq!(seen["findings"], Value::Array(vec![]), "{} {simulation:?}", P::NAME);
    assert!(seen["verdict"].as_str().is_some_and(|verdict| verdict.contains("holds")), "{seen}");
}

/// The page says that the run failed, and names what was broken.
fn names_the_cause<P: Simulated>(canary: Canary, cause: &str) {
    let broken = |seed| Simulation::new(seed).protocol::<P>().replicas(3).canary(canary);
    let simulation = first(broken, |run| run.is_err());
    let Some((record, seen)) = used(&simulation) else { return };
    let property = record["violation"]["property"].as_str().expect("it is violated");
    assert!(seen["verdict"].as_str().is_some_and(|verdict| verdict.contains(property)), "{seen}");
    let findings = seen["findings"].as_array().expect("findings");
    let is_named =
        findings.iter().any(|finding| finding.as_str().unwrap_or_default().contains(cause));
    assert!(is_named, "{} {canary:?}: {findings:?}", P::NAME);
}

#[test]
fn a_good_run_is_shown_whole_and_nothing_in_it_looks_odd() {
    shows_a_good_run::<Raft>(3, &["stands", "votes", "shows", "acknowledges"]);
    shows_a_good_run::<Vsr>(5, &["reports", "acknowledges"]);
}

#[test]
fn a_forgotten_promise_is_named() {
    names_the_cause::<Raft>(Canary::ForgetPledge, "starts with the promise “none”; its disk has");
    names_the_cause::<Vsr>(Canary::ForgetPledge, "starts with the promise “none”; its disk has");
}

#[test]
fn what_is_said_before_it_is_on_disk_is_named() {
    let canary = Canary::AcknowledgeBeforeSync;
    names_the_cause::<Raft>(canary, "; its disk has the promise");
    names_the_cause::<Vsr>(canary, "; its disk has the promise");
}

#[test]
fn a_stale_read_is_named() {
    names_the_cause::<Raft>(Canary::ReadLocally, "at once, without asking anybody");
    names_the_cause::<Vsr>(Canary::ReadLocally, "at once, without asking anybody");
}
