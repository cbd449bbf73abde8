//! What not every machine has.

use std::io::{Write, stderr};

/// Says that a test is skipped, and why. A machine that is to skip none says `QUORATE_REQUIRE=all`.
pub fn skip(why: &str) {
    let all = std::env::var_os("QUORATE_REQUIRE").is_some_and(|value| value == "all");
    assert!(!all, "QUORATE_REQUIRE=all forbids to skip this: {why}");
    // Of a test that passes, what it prints is not shown.
    let _ = writeln!(stderr(), "SKIPPED: {why}");
}
