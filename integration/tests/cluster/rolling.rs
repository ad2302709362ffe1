//! All servers and all nats-servers are restarted, one after the other, while peers write.

use std::time::Instant;

use integration::Server;

use crate::trouble::{Pair, World};

const PAIRS: usize = 2;
const LINES_A_STEP: usize = 5;

/// Writes before and while something is stopped, and after that, and waits until everything has arrived.
fn step(what: &str, pairs: &mut [Pair], restart: impl FnOnce(&mut dyn FnMut())) {
    let begun = Instant::now();
    let mut write = || pairs.iter_mut().for_each(|pair| pair.write(LINES_A_STEP));
    write();
    restart(&mut write);
    write();
    pairs.iter().for_each(Pair::wait);
    eprintln!("{what} was restarted, and everything has arrived, within {:?}", begun.elapsed());
}

#[test]
fn a_rolling_restart_of_everything_loses_doubles_and_reorders_nothing() {
    let Some(mut world) = World::new(1) else { return };
    let mut pairs: Vec<Pair> = (0..PAIRS).map(|n| Pair::start(&world, n)).collect();
    for at in 0..3 {
        step(&format!("server {at}"), &mut pairs, |write| {
            let server: Server = world.servers[at].take().expect("all run");
            let address = server.address().to_string();
            server.stop();
            write();
            world.servers[at] = Some(world.launch(at, &address));
        });
    }
    for at in 0..3 {
        step(&format!("nats-server {at}"), &mut pairs, |write| {
            let stopped = world.nats[at].take().expect("all run").stop();
            write();
            world.nats[at] = Some(stopped.start());
        });
    }
    pairs.into_iter().for_each(Pair::check);
}
