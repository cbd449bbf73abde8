//! The Redis serialization protocol, versions 2 and 3.
//!
//! [`Decoder`] takes requests apart as a server receives them; [`Encoder`] writes replies in the
//! version that a connection speaks; [`Value`] is a reply as a client sees it. No published codec
//! was found that bounds what a peer can make it hold, goes on where it stopped instead of
//! scanning a half-received request again, and knows the quoting of inline commands.

mod decode;
mod encode;
mod value;

pub use decode::{Decoder, OwnedRequest, ProtocolError, Request};
pub use encode::{Encoder, Version};
pub use value::{Value, ValueError};
