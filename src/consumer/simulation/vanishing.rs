//! Rows that vanish: the table is deleted and created again, or a row is deleted or expires. A scan may then count as
//! stored only for as long as the cache may be trusted.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::instance::{Instance, settings};
use super::messages::scan;
use super::world::World;
use crate::consumer::settings::{Settings, WriteMode};

const WRITE_MODES: [WriteMode; 2] = [WriteMode::Put, WriteMode::Batch { linger: Duration::from_millis(2) }];

/// Publishes a copy of the scan of port 1, and returns whether it was stored.
async fn is_stored_again(world: &World) -> bool {
    let count = world.state().subscription.messages.len();
    world.publish([scan(1, 5)]);
    world.acked(count + 1).await;
    world.state().table.rows.contains_key(&1)
}

#[tokio::test(start_paused = true)]
async fn a_deleted_row_is_written_again_when_its_cache_entry_is_too_old() {
    for write_mode in WRITE_MODES {
        let world = World::new();
        let instance = Instance::new(&world, Settings { write_mode, ..settings() });
        let script = async {
            assert!(is_stored_again(&world).await);
            world.state().table.delete_row(1);
            assert!(!is_stored_again(&world).await, "the cache answers");
            sleep(instance.process.settings.cache_max_age).await;
            assert!(is_stored_again(&world).await);
        };
        instance.during(script).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_a_deleted_row_is_written_again_by_the_next_scan() {
    for write_mode in WRITE_MODES {
        let world = World::new();
        let script = async {
            assert!(is_stored_again(&world).await);
            world.state().table.delete_row(1);
            assert!(is_stored_again(&world).await);
        };
        Instance::new(&world, Settings { write_mode, cache_entries: 0, ..settings() }).during(script).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_recreated_table_gets_every_later_scan_after_one_write_found_it_missing() {
    for write_mode in WRITE_MODES {
        let world = World::new();
        let script = async {
            assert!(is_stored_again(&world).await);
            world.state().table.delete(Instant::now() + Duration::from_secs(5));
            world.publish([scan(2, 5)]);
            world.acked(2).await;
            assert!(is_stored_again(&world).await);
        };
        Instance::new(&world, Settings { write_mode, ..settings() }).during(script).await;
    }
}
