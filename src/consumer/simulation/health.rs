//! Health of the instance: it is alive during every outage, and ready when it can work.

use std::time::Duration;

use tokio::time::sleep;

use super::faults::Answer;
use super::instance::{Instance, n, settings};
use super::messages::scan;
use super::world::World;
use crate::consumer::settings::Settings;

fn reasons(instance: &Instance) -> Vec<String> {
    instance.process.unready().into_iter().map(|unready| unready.condition).collect()
}

#[tokio::test(start_paused = true)]
async fn is_alive_and_names_its_conditions_during_an_outage_of_ten_minutes_and_a_drain() {
    let world = World::new();
    world.store(|_| Answer::Hang { written: false });
    let grace = Duration::from_secs(300);
    world.publish((1..=100).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, Settings { consumers: n(3), shutdown_grace: grace, ..settings() });
    assert_eq!(reasons(&instance), ["starting"]);
    let drain = async {
        instance.process.drain.requested().await;
        while instance.process.census.reading_workers() > 0 {
            assert!(instance.process.liveness.is_alive());
            assert_eq!(reasons(&instance), ["stopping", "DynamoDB"]);
            sleep(Duration::from_secs(1)).await;
        }
    };
    let outage = async {
        sleep(Duration::from_secs(60)).await;
        for _ in 0..600 {
            assert!(instance.process.liveness.is_alive());
            assert_eq!(reasons(&instance), ["DynamoDB"]);
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::join!(drain, instance.during(outage));
    assert!(instance.process.liveness.is_alive());
}

#[tokio::test(start_paused = true)]
async fn is_alive_and_ready_while_idle_and_after_an_outage() {
    let world = World::new();
    world.store(|attempt| if attempt.number <= 20 { Answer::Unavailable { written: false } } else { Answer::Normal });
    let instance = Instance::new(&world, Settings { consumers: n(3), ..settings() });
    let script = async {
        sleep(Duration::from_secs(600)).await;
        assert!(instance.process.liveness.is_alive());
        assert!(reasons(&instance).is_empty());
        world.publish((1..=8).map(|port| scan(port, 5)));
        sleep(Duration::from_secs(5)).await;
        assert_eq!(reasons(&instance), ["DynamoDB"]);
        world.acked(8).await;
        assert!(reasons(&instance).is_empty());
    };
    instance.during(script).await;
}
