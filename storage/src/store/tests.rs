mod fixture;
mod scenarios;
