//! What a load needs: the formulas of `docs/capacity.md`, each a function under the name that the page gives it. Knows no
//! dollars.

use std::num::NonZeroUsize;

use mini_scan::consumer::settings::{stream_messages, write_limit};

use super::inputs::Inputs;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Put,
    Batch,
}

/// What becomes of copies: all meet the write or the memory of the scan that they are copies of, or none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    Meet,
    Miss,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// A second.
    pub(super) messages: f64,
    pub(super) mode: Mode,
    pub(super) copies: Copies,
    /// Of one consumer, each with a thread.
    pub(super) cores: usize,
}

/// What a process of these containers may open; above every other bound here.
const OPEN_FILES: u64 = 1 << 20;
/// The steps in which `--max-outstanding` and limits of memory are chosen.
const OUTSTANDING_STEP: usize = 1000;
const MEMORY_STEP: f64 = 64.0;
const MIB: f64 = 1024.0 * 1024.0;

impl Inputs {
    pub(super) fn message(&self) -> f64 {
        self.message_frame + self.response
    }

    pub(super) fn record(&self) -> f64 {
        self.record_frame + self.response
    }

    pub(super) fn units_of_a_record(&self) -> f64 {
        (self.record() / self.unit).ceil()
    }

    /// Statements a write: one that guessed the wrong verb is followed by another.
    pub(super) fn statements(&self, load: &Load) -> f64 {
        match (load.mode, load.copies) {
            (Mode::Put, _) | (Mode::Batch, Copies::Meet) => 1.0,
            (Mode::Batch, Copies::Miss) => 1.0 + self.missing.min(1.0 - self.missing),
        }
    }

    pub(super) fn writes(&self, load: &Load) -> f64 {
        match load.copies {
            Copies::Meet => load.messages * (1.0 - self.copies),
            Copies::Miss => load.messages,
        }
    }

    pub(super) fn write_units(&self, load: &Load) -> f64 {
        self.writes(load) * self.units_of_a_record() * self.statements(load)
    }

    pub(super) fn partitions(&self, load: &Load) -> f64 {
        (self.write_units(load) / self.partition_units).ceil()
    }

    pub(super) fn warm_throughput(&self, load: &Load) -> f64 {
        let needed = self.write_units(load) * self.headroom;
        (needed / 1000.0).ceil().max(self.new_table_units / 1000.0) * 1000.0
    }

    /// CPU of one write, in microseconds.
    pub(super) fn write_micros(&self, mode: Mode) -> f64 {
        let (small, large) = (64.0, 100_000.0);
        let a_byte = (self.large_micros - self.put_micros) / (large - small);
        let base = match mode {
            Mode::Put => self.put_micros,
            Mode::Batch => self.put_micros * self.batch_share,
        };
        base + a_byte * (self.response - small).max(0.0)
    }

    pub(super) fn cores(&self, load: &Load) -> f64 {
        let writes = self.writes(load);
        let writing = writes * self.statements(load) * self.write_micros(load.mode);
        let settling = (load.messages - writes) * self.copy_micros;
        self.headroom * (writing + settling) / 1e6
    }

    /// Calls a second: what is in flight, and what takes a connection.
    pub(super) fn calls(&self, load: &Load) -> f64 {
        match load.mode {
            Mode::Put => self.writes(load),
            Mode::Batch => self.writes(load) * self.statements(load) / self.statements_a_call(),
        }
    }

    /// As many as were measured, or as fit.
    pub(super) fn statements_a_call(&self) -> f64 {
        (self.call_bytes / self.record()).floor().clamp(1.0, self.writes_a_call)
    }

    /// Calls in flight of all consumers.
    pub(super) fn in_flight(&self, load: &Load) -> f64 {
        self.calls(load) * self.latency * self.headroom
    }

    /// Two at least, so that one may go; and as many as their threads can have writes in flight.
    pub(super) fn consumers(&self, load: &Load) -> f64 {
        let for_cpu = self.cores(load) / load.cores as f64;
        let for_writes = self.in_flight(load) / most_writes(load.cores) as f64;
        for_cpu.max(for_writes).ceil().max(2.0)
    }

    /// The least `--max-outstanding` with which a consumer may have its share of the calls in flight, and of the scans
    /// that they carry.
    pub(super) fn max_outstanding(&self, load: &Load) -> usize {
        let consumers = self.consumers(load);
        let calls = self.in_flight(load) / consumers;
        let scans = self.writes(load) * self.latency * self.headroom / consumers;
        let fits = |max: &usize| *max as f64 >= scans && writes_in_flight(*max, load.cores) as f64 >= calls;
        (1..1000)
            .map(|steps| steps * OUTSTANDING_STEP)
            .find(fits)
            .expect("a thousand steps are enough for any load here")
    }

    /// Streams of one consumer: `--consumers`.
    pub(super) fn streams_of_each(&self, load: &Load) -> f64 {
        let for_bytes = self.headroom * load.messages * self.delivered() / self.stream_bytes;
        (for_bytes / self.consumers(load)).ceil().max(self.streams)
    }

    /// What Pub/Sub counts of a message.
    pub(super) fn delivered(&self) -> f64 {
        self.message() + self.message_overhead
    }

    /// Memory of a consumer, in bytes.
    pub(super) fn memory(&self, max_outstanding: usize, streams: f64) -> f64 {
        let a_message = (self.memory_at_10000 - self.memory_at_1000) / 9000.0;
        let beyond = max_outstanding.saturating_sub(1000) as f64;
        let read = stream_messages(at_least_one(max_outstanding), at_least_one(streams as usize)) as f64 * streams;
        let bytes_read = (read * self.message()).min(self.outstanding_bytes);
        let bytes_decoded = (max_outstanding as f64 * self.response).min(self.outstanding_bytes);
        (self.memory_at_1000 + a_message * beyond) * 1e6 + bytes_read + bytes_decoded
    }

    /// Memory limit of a consumer, in MiB.
    pub(super) fn memory_limit(&self, load: &Load) -> f64 {
        let needed = self.memory(self.max_outstanding(load), self.streams_of_each(load)) * self.headroom / MIB;
        (needed / MEMORY_STEP).ceil() * MEMORY_STEP
    }

    /// Seconds from a message's delivery until Pub/Sub counts it as backlog no more.
    pub(super) fn until_acknowledged(&self) -> f64 {
        self.latency + self.flush
    }

    /// Backlog of one consumer that is in hand and no reason for another: what the autoscaler's threshold must exceed.
    pub(super) fn unsettled_backlog(&self, load: &Load) -> f64 {
        let messages = load.messages / self.consumers(load) * self.until_acknowledged() * self.headroom;
        (messages / 1000.0).ceil() * 1000.0
    }

    /// Ports that a node of Cloud NAT needs for one consumer: a power of two that its connections fit in.
    pub(super) fn ports(&self, load: &Load) -> f64 {
        let connections = writes_in_flight(self.max_outstanding(load), load.cores) + load.cores;
        connections.next_power_of_two() as f64
    }

    pub(super) fn addresses(&self, load: &Load) -> f64 {
        (self.consumers(load) * self.ports(load) / self.address_ports).ceil()
    }

    /// Writes a second of one consumer of two cores with default flags, as far as its writes in flight go.
    pub(super) fn default_rate(&self, mode: Mode) -> f64 {
        let calls = writes_in_flight(self.outstanding_default as usize, 2) as f64 / self.latency;
        match mode {
            Mode::Put => calls,
            // What is outstanding bounds it as well, and first.
            Mode::Batch => (calls * self.statements_a_call()).min(self.outstanding_default / self.latency),
        }
    }
}

/// The writes that so many equal messages cost, dealt out by chance to consumers that remember what they wrote.
pub(super) fn writes_of_copies(copies: f64, consumers: f64) -> f64 {
    consumers * (1.0 - (1.0 - 1.0 / consumers).powf(copies))
}

fn at_least_one(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap_or(NonZeroUsize::MIN)
}

/// The program's own rule. The files of its streams are few beside those that it may open.
fn writes_in_flight(max_outstanding: usize, threads: usize) -> usize {
    write_limit(at_least_one(max_outstanding), NonZeroUsize::MIN, at_least_one(threads), OPEN_FILES).get()
}

fn most_writes(threads: usize) -> usize {
    writes_in_flight(usize::MAX, threads)
}
