//! Many numbers on one line.

/// Prints how `values` are spread: quantiles, and a bar for each doubling.
pub(crate) fn print_histogram(name: &str, values: &[u64]) {
    println!("{}", histogram(name, values));
}

fn histogram(name: &str, values: &[u64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let quantile = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    let (least, most) = (quantile(0), quantile(100));
    format!(
        "{name:>18}: {least:>7} least {:>7} p10 {:>7} p50 {:>7} p90 {most:>7} most  {}",
        quantile(10),
        quantile(50),
        quantile(90),
        bars(&sorted)
    )
}

/// A bar for each power of two between the least and the greatest value.
fn bars(sorted: &[u64]) -> String {
    const HEIGHTS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bucket = |value: u64| u64::BITS - value.leading_zeros();
    let (first, last) = (bucket(sorted[0]), bucket(sorted[sorted.len() - 1]));
    let count = |b: u32| sorted.iter().filter(|value| bucket(**value) == b).count();
    let highest = (first..=last).map(count).max().unwrap_or(1).max(1);
    let height = |count: usize| (count * 8).div_ceil(highest);
    (first..=last).map(|b| HEIGHTS[height(count(b))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_shows_quantiles_and_doublings() {
        let line = histogram("x", &[8, 1, 9, 10, 2]);
        assert!(line.contains("1 least") && line.contains("8 p50") && line.contains("10 most"));
        assert!(line.ends_with("▃▃ █"), "{line}");
    }
}
