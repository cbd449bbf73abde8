//! The page: everything in one file, so that it opens wherever a browser is.

use super::record::Record;

const FRAME: &str = include_str!("page/frame.html");
const STYLE: &str = include_str!("page/style.css");
/// In the order in which they build on each other.
const SCRIPTS: [&str; 9] = [
    include_str!("page/record.js"),
    include_str!("page/replay.js"),
    include_str!("page/findings.js"),
    include_str!("page/story.js"),
    include_str!("page/layout.js"),
    include_str!("page/draw.js"),
    include_str!("page/overview.js"),
    include_str!("page/panels.js"),
    include_str!("page/app.js"),
];

/// The page that shows a record, which `command` draws again.
pub(super) fn html(record: &Record, command: &str) -> String {
    let data = serde_json::to_string(record).expect("plain data encodes");
    let title = format!("{} seed {}", record.protocol, record.seed);
    let command = serde_json::to_string(command).expect("a text encodes");
    // Each part goes in by itself, so that nothing in one is taken for the place of another.
    let mut page = String::with_capacity(FRAME.len() + data.len() + 200_000);
    for (number, part) in FRAME.split("@@").enumerate() {
        if number % 2 == 0 {
            page.push_str(part);
            continue;
        }
        match part {
            "title" => page.push_str(&escaped(&title)),
            "style" => page.push_str(STYLE),
            "data" => page.push_str(&harmless(&data)),
            "command" => page.push_str(&harmless(&command)),
            "scripts" => SCRIPTS.iter().for_each(|script| page.push_str(script)),
            other => unreachable!("no part of the page is called {other}"),
        }
    }
    page
}

/// JSON that ends no element of HTML.
fn harmless(json: &str) -> String {
    json.replace('<', "\\u003c")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
