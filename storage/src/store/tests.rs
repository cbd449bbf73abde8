mod damaged;
mod fixture;
mod scenarios;
mod torn;
