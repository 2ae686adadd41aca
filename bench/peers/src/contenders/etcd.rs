//! etcd: put, and get as it is unless one asks for less (linearizable).

use std::time::Duration;

use etcd_client::Client as Etcd;

use super::Failure;
use crate::load::{Cell, Client, Kind, Measured, one_by_one};

/// Rows of one client.
const ROWS: usize = 100;

struct One {
    etcd: Etcd,
    number: usize,
    cell: Cell,
    value: Vec<u8>,
}

impl Client for One {
    async fn once(&mut self, turn: usize) -> Result<(), Failure> {
        let key = format!("row-{}-{}", self.number, turn % ROWS);
        match self.cell.kind {
            Kind::Write => {
                self.etcd.put(key, self.value.clone(), None).await?;
            }
            _ => {
                self.etcd.get(key, None).await?;
            }
        }
        Ok(())
    }
}

pub async fn run(endpoints: &[String], cell: Cell, time: Duration) -> Result<Measured, Failure> {
    // One connection set for sixteen clients, so that none of them is the narrow place.
    let mut shared = Vec::new();
    for _ in 0..cell.clients.div_ceil(16) {
        shared.push(Etcd::connect(endpoints, None).await?);
    }
    one_by_one(cell.clients, time, |number| One {
        etcd: shared[number % shared.len()].clone(),
        number,
        cell,
        value: vec![b'x'; cell.bytes],
    })
    .await
}
