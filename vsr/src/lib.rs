//! quorate-vsr
