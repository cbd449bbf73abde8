//! What panics is a finding, and told as one.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

static QUIET: Once = Once::new();

/// Does `act`, or says what it panicked with. What it was at must not be used any more then.
pub(crate) fn caught<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    // While a counterexample is shortened the same panic comes hundreds of times.
    QUIET.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_CAUGHT.get() {
                loud(panic);
            }
        }));
    });
    let before = IS_CAUGHT.replace(true);
    let done = catch_unwind(AssertUnwindSafe(act));
    IS_CAUGHT.set(before);
    done.map_err(|panic| words(&*panic))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    words.unwrap_or("a panic without words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_its_words() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| panic!("oh")), Err::<(), _>("oh".to_owned()));
        assert_eq!(caught(|| panic!("oh {}", 1)), Err::<(), _>("oh 1".to_owned()));
    }
}
