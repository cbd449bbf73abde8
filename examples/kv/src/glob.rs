//! Patterns of KEYS, SCAN and CONFIG GET.

/// True if `text` matches `pattern`: `*` any bytes, `?` one byte, `[abc]`, `[a-c]`, `[^a]` one byte
/// of (not of) a set, `\x` the byte x itself. An unclosed set ends with the pattern, as in Redis.
///
/// Takes at most `pattern × text` steps, whatever the pattern: only the last `*` is ever taken
/// back, since an earlier one could not make a later part match any better.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            last_star = Some((p, t));
            continue;
        }
        if t == text.len() && p == pattern.len() {
            return true;
        }
        if let Some((next, true)) = text.get(t).and_then(|&byte| one(pattern, p, byte)) {
            p = next;
            t += 1;
            continue;
        }
        match last_star {
            Some((after, from)) if from < text.len() => {
                last_star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// Where the pattern element at `p` ends and whether it matches `byte`; `None` at the end.
fn one(pattern: &[u8], p: usize, byte: u8) -> Option<(usize, bool)> {
    match *pattern.get(p)? {
        b'?' => Some((p + 1, true)),
        b'[' => Some(set(pattern, p + 1, byte)),
        b'\\' if p + 1 < pattern.len() => Some((p + 2, pattern[p + 1] == byte)),
        literal => Some((p + 1, literal == byte)),
    }
}

fn set(pattern: &[u8], mut p: usize, byte: u8) -> (usize, bool) {
    let negated = pattern.get(p) == Some(&b'^');
    if negated {
        p += 1;
    }
    let mut found = false;
    loop {
        match &pattern[p..] {
            [] => return (p, found != negated),
            [b']', ..] => return (p + 1, found != negated),
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                p += 2;
            }
            [low, b'-', high, ..] => {
                found |= (*low.min(high)..=*low.max(high)).contains(&byte);
                p += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                p += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_redis() {
        let yes = [
            ("*", ""),
            ("", ""),
            ("h?llo", "hallo"),
            ("h*llo", "hllo"),
            ("h*llo", "heeello"),
            ("h[ae]llo", "hello"),
            ("h[^e]llo", "hallo"),
            ("h[a-b]llo", "hbllo"),
            ("h[b-a]llo", "hallo"),
            ("a\\*b", "a*b"),
            ("[\\]]", "]"),
            ("[a", "a"),
            ("a\\", "a\\"),
            ("*a*b*", "xxaxxbxx"),
            ("user:*:name", "user:1:2:name"),
            ("**", "ab"),
        ];
        let no = [
            ("", "a"),
            ("h?llo", "hllo"),
            ("h[^e]llo", "hello"),
            ("a\\*b", "axb"),
            ("*a", "ab"),
            ("[ab]", ""),
            ("?", ""),
            ("abc", "ab"),
            ("user:*:name", "user:1"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_its_length_times_the_text() {
        let pattern = b"a*".repeat(2_000);
        let text = b"a".repeat(4_000);
        assert!(!matches(&[&pattern[..], b"b"].concat(), &text));
    }

    proptest! {
        #[test]
        fn arbitrary_patterns_never_panic(
            pattern: Vec<u8>,
            text: Vec<u8>,
            special in "[\\[\\]\\\\*?^a-c-]{0,12}",
        ) {
            let _ = matches(&pattern, &text);
            let _ = matches(special.as_bytes(), &text);
        }

        #[test]
        fn a_text_matches_itself_quoted_and_with_stars_around(text: Vec<u8>) {
            let quoted: Vec<u8> = text.iter().flat_map(|byte| [b'\\', *byte]).collect();
            prop_assert!(matches(&quoted, &text));
            prop_assert!(matches(&[b"*", &quoted[..], b"*"].concat(), &text));
        }
    }
}
