//! The health of the table: what refused writes and descriptions show about it.

use tracing::warn;

use super::Process;
use crate::consumer::health::{Condition, Fault};
use crate::consumer::ports::{Fit, StoreError, StoreErrorKind};

impl Process {
    /// Records that a write was refused, and whether it is the first refusal of this delivery.
    ///
    /// Retries of parked writes do not open the circuit breaker, but keep it from expiring.
    pub(crate) fn write_refused(&self, error: &StoreError, is_first: bool) {
        let breaker = &self.refusals.breaker;
        if (is_first || breaker.is_open()) && breaker.failed() {
            // A description that does not fit is the more precise cause.
            let fault = (!self.refusals.misfits()).then(|| {
                self.table_fault(&format!(
                    "refuses every write ({error}). Nothing is lost; one write per second is tried"
                ))
            });
            self.update_table_health(fault);
        }
    }

    /// Records that a write was stored or stale, which closes the circuit breaker.
    pub(super) fn table_answered(&self) {
        if self.refusals.breaker.answered() {
            self.update_table_health(None);
        }
    }

    /// Records a description of the table that was requested at this tick.
    pub(crate) fn described(&self, requested: u64, fit: Fit) {
        match fit {
            Fit::Fits => {
                if self.refusals.described(requested, true) {
                    // Its refusals were those of the table before the change.
                    self.refusals.breaker.answered();
                }
                self.update_table_health(None);
            }
            Fit::DoesNotFit(detail) => {
                self.refusals.described(requested, false);
                let fault = self.table_fault(&format!(
                    "does not fit scans: {detail}. Nothing is lost; refused messages wait until it fits"
                ));
                let present = self.health.conditions();
                if !present.iter().any(|(condition, text)| *condition == Condition::Refusals && *text == fault.detail) {
                    self.health.change(Condition::Refusals, fault.clone());
                    self.update_table_health(Some(fault));
                }
            }
        }
    }

    /// Records that the table could not be described.
    pub(crate) fn description_failed(&self, error: &StoreError) {
        let is_denied = error.kind == StoreErrorKind::Permission;
        if is_denied {
            self.refusals.description_denied();
            self.update_table_health(None);
        }
        if let Some(suppressed) = self.logs.undescribed.due() {
            warn!(
                table = self.settings.table,
                error.type = error.kind.name(),
                %error,
                next_step = is_denied.then_some("Grant dynamodb:DescribeTable on the table to this identity"),
                suppressed,
                "cannot describe the table; refused messages stay parked"
            );
        }
    }

    fn table_fault(&self, what: &str) -> Fault {
        let detail = format!(
            "table {} {what}. Compare its key schema and indexes with those of a table that `mini-scan setup table` \
             creates.",
            self.settings.table
        );
        Fault { error: StoreErrorKind::Refused.name(), detail }
    }

    fn update_table_health(&self, fault: Option<Fault>) {
        self.health.update(Condition::Refusals, fault, || self.refusals.is_table_at_fault());
    }
}
