//! The study that people take, as a page on this machine.

mod server;
mod session;
mod store;

pub use server::{Address, serve};
