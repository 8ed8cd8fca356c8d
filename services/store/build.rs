//! The migrations are compiled in: a new file must compile the crate again.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
