//! `kv`: a replicated key-value server that speaks the Redis protocol.

mod cli;
mod demo;
mod directory;
mod log;
mod replay;
mod serve;
mod signals;

use std::error::Error;
use std::iter;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use log::Log;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Without a thread for it, nothing can be said but by the status.
    let Ok(log) = Log::start() else { return ExitCode::FAILURE };
    let result: Result<(), Box<dyn Error>> = match command {
        Command::Serve(args) => serve::run(&args, &log).map_err(Into::into),
        Command::Demo(args) => demo::run(&args).map_err(Into::into),
        Command::Inspect { dir, groups } => directory::inspect(&dir, groups).map_err(Into::into),
        Command::Replay { file, trace } => replay::run(&file, trace).map_err(Into::into),
        Command::Verify { dir } => directory::verify(&dir).map_err(Into::into),
    };
    if let Err(error) = &result {
        let causes = iter::successors(Some(&**error), |&error| error.source());
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        log.put(format!("kv: {}\n", causes.join(": ")).as_bytes());
    }
    log.flush();
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
