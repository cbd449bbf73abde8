//! quorate-handoff
