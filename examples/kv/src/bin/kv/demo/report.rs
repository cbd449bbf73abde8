//! What the demo has shown.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::HumanCount;

use super::check::Findings;
use super::load::{Fate, Tally};

/// All there is to say.
pub struct Report {
    pub tallies: Vec<Tally>,
    pub findings: Findings,
    /// From the first write to the last.
    pub elapsed: Duration,
    /// From the kill to the first write acknowledged after it.
    pub failover: Duration,
    /// From the restart of the killed node to its having applied everything.
    pub caught_up: Duration,
}

/// With less, nothing would be shown.
const LEAST_WRITES: u64 = 10_000;

impl Report {
    fn count(&self, fate: Fate) -> u64 {
        let of = |tally: &Tally| tally.fates.iter().filter(|of| **of == fate).count() as u64;
        self.tallies.iter().map(of).sum()
    }

    fn after_kill(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.after_kill).sum()
    }

    /// Which promises were not kept.
    pub fn failures(&self) -> Vec<String> {
        let Findings { lost, duplicated, examples, .. } = &self.findings;
        let nonsense: Vec<&str> =
            self.tallies.iter().flat_map(|tally| &tally.nonsense).map(String::as_str).collect();
        let mut failures = Vec::new();
        if self.count(Fate::Acknowledged) < LEAST_WRITES {
            failures.push(format!("fewer than {LEAST_WRITES} writes were acknowledged"));
        }
        if self.after_kill() == 0 {
            failures.push("no write was acknowledged after the kill".to_owned());
        }
        if *lost > 0 || *duplicated > 0 {
            let examples = examples.join("; ");
            failures.push(format!("{lost} writes lost, {duplicated} duplicated ({examples})"));
        }
        if let Some(first) = nonsense.first() {
            failures.push(format!("{} wrong answers: {first}", nonsense.len()));
        }
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acknowledged = self.count(Fate::Acknowledged);
        let unknown = self.count(Fate::Unknown);
        let mut latency = Histogram::<u64>::new(3).map_err(|_| fmt::Error)?;
        for tally in &self.tallies {
            latency.add(&tally.latency).map_err(|_| fmt::Error)?;
        }
        let ms = |micros: u64| format!("{:.2} ms", micros as f64 / 1000.0);
        let seconds = self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let rate = HumanCount((acknowledged as f64 / seconds) as u64);
        let (acknowledged, after) = (HumanCount(acknowledged), HumanCount(self.after_kill()));
        writeln!(f, "  writes acknowledged  {acknowledged}, {after} of them after the kill")?;
        writeln!(f, "  lost                 {}", self.findings.lost)?;
        writeln!(f, "  duplicated           {}", self.findings.duplicated)?;
        writeln!(
            f,
            "  outcome unknown      {unknown}, {} of them found applied",
            self.findings.unknown_applied
        )?;
        writeln!(
            f,
            "  failover             {} ms from SIGKILL to the next acknowledged write",
            self.failover.as_millis()
        )?;
        writeln!(
            f,
            "  killed node          caught up {} ms after it was back, under load",
            self.caught_up.as_millis()
        )?;
        writeln!(f, "  throughput           {rate} writes/s, the failover included")?;
        write!(
            f,
            "  latency              p50 {}, p99 {}, longest {}",
            ms(latency.value_at_quantile(0.5)),
            ms(latency.value_at_quantile(0.99)),
            ms(latency.max())
        )
    }
}

/// How to do it without the demo.
pub fn by_hand() -> String {
    let exe = program();
    let peers = "1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103";
    let serve = |id: u64| {
        format!(
            "  {exe} serve --id {id} --peers {peers} --listen 127.0.0.1:610{id} --data kv-data/{id}"
        )
    };
    format!(
        "To run three nodes by hand, each in a terminal of its own:\n\n{}\n{}\n{}\n\n\
         then, with any Redis client and any of the nodes:\n\n  \
         redis-cli -p 6102 set greeting hello\n  redis-cli -p 6103 get greeting",
        serve(1),
        serve(2),
        serve(3)
    )
}

/// How to call this program from the directory in which it was called.
fn program() -> String {
    let Ok(exe) = std::env::current_exe() else { return "kv".to_owned() };
    let here = std::env::current_dir().ok();
    let shorter = here.and_then(|here| exe.strip_prefix(here).ok());
    shorter.unwrap_or(&exe).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is reported of so many acknowledged writes, so many of them after the kill.
    fn report(acknowledged: u64, after_kill: u64, findings: Findings) -> Report {
        let mut tally = Tally::new(0);
        tally.fates = vec![Fate::Acknowledged; acknowledged as usize];
        tally.fates.push(Fate::Unknown);
        tally.after_kill = after_kill;
        let [elapsed, failover, caught_up] = [Duration::ZERO; 3];
        Report { tallies: vec![tally], findings, elapsed, failover, caught_up }
    }

    #[test]
    fn the_demo_fails_if_it_has_shown_too_little_or_a_promise_was_not_kept() {
        let found = |lost, duplicated| Findings { lost, duplicated, ..Findings::default() };
        let enough = LEAST_WRITES;
        assert_eq!(report(enough, 1, found(0, 0)).failures(), [""; 0]);
        for (report, failure) in [
            (report(enough - 1, 1, found(0, 0)), "fewer than 10000 writes were acknowledged"),
            (report(enough, 0, found(0, 0)), "no write was acknowledged after the kill"),
            (report(enough, 1, found(1, 0)), "1 writes lost, 0 duplicated ()"),
            (report(enough, 1, found(0, 1)), "0 writes lost, 1 duplicated ()"),
        ] {
            assert_eq!(report.failures(), [failure]);
        }
        let mut nonsense = report(enough, 1, found(0, 0));
        nonsense.tallies[0].nonsense.push("SET was answered PONG".to_owned());
        assert_eq!(nonsense.failures(), ["1 wrong answers: SET was answered PONG"]);
    }
}
