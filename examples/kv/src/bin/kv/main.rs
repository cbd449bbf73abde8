//! `kv`: a replicated key-value server that speaks the Redis protocol.

mod cli;
mod demo;
mod directory;
mod serve;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let result: Result<(), Box<dyn Error>> = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args).map_err(Into::into),
        Command::Demo(args) => demo::run(&args).map_err(Into::into),
        Command::Inspect { dir, groups } => directory::inspect(&dir, groups).map_err(Into::into),
        Command::Verify { dir } => directory::verify(&dir).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kv: {error}");
            ExitCode::FAILURE
        }
    }
}
