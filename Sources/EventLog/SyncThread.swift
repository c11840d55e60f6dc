internal import FileIO
internal import Synchronization
internal import Threads

/// The thread that commits a lane's batches, so that its loop never waits for the disk.
final class SyncThread: Sendable {
    private let core: LaneCore
    private let thread: NamedThread
    private let signals: Signals

    /// What the writer says to the thread.
    private final class Signals: Sendable {
        /// Rung after a write while the thread is idle.
        let work = Doorbell()
        /// Rung to end the thread.
        let stop = Doorbell()
        let isIdle = Atomic(false)
        let isStopped = Atomic(false)
    }

    /// The longest pause before a failed commit is tried again; chosen: 1 s.
    private static let retryNanosecondsMax: Int64 = 1_000_000_000

    /// Starts the thread.
    init(_ core: LaneCore) {
        self.core = core
        let signals = Signals()
        self.signals = signals
        thread = NamedThread(name: "sync-\(core.template.lane ?? 0)") {
            Self.run(core, signals)
        }
    }

    /// Says that something was written. Costs a system call only when the thread is idle.
    func wake() {
        if signals.isIdle.load(ordering: .sequentiallyConsistent) {
            signals.work.ring()
        }
    }

    /// Ends the thread and waits for it; a commit that is under way is completed.
    func stop() {
        signals.isStopped.store(true, ordering: .sequentiallyConsistent)
        signals.stop.ring()
        signals.work.ring()
        thread.join()
    }

    /// The thread: commits whenever there is something, at most once per interval.
    private static func run(_ core: LaneCore, _ signals: Signals) {
        let interval =
            core.configuration.sync == .interval
            ? core.configuration.syncInterval.nanoseconds : 0
        var retry: Int64 = 10_000_000
        /// When a disk that was full is asked again for the next segment.
        var nextSpare: UInt64 = 0
        var began = core.time.monotonicNanoseconds()
        while !signals.isStopped.load(ordering: .sequentiallyConsistent) {
            let seen = signals.work.count
            signals.isIdle.store(true, ordering: .sequentiallyConsistent)
            if !core.hasUncommitted {
                signals.work.wait(since: seen)
                continue
            }
            signals.isIdle.store(false, ordering: .sequentiallyConsistent)
            let passed = Int64(clamping: core.time.monotonicNanoseconds() &- began)
            if passed < interval {
                pause(interval - passed, signals)
                continue
            }
            began = core.time.monotonicNanoseconds()
            do throws(EventLogError) {
                try core.commit()
                retry = 10_000_000
            } catch {
                // The lane's counters and the errors of its writes tell; here it is tried again.
                pause(retry, signals)
                retry = min(retry * 2, retryNanosecondsMax)
            }
            if began >= nextSpare, !core.prepareSpareIfNeeded() {
                nextSpare = began + UInt64(retryNanosecondsMax)
            }
        }
    }

    /// Waits, unless the thread is to end.
    private static func pause(_ nanoseconds: Int64, _ signals: Signals) {
        let seen = signals.stop.count
        if !signals.isStopped.load(ordering: .sequentiallyConsistent) {
            signals.stop.wait(since: seen, timeoutNanoseconds: nanoseconds)
        }
    }
}

extension Duration {
    /// The duration in whole nanoseconds, clamped to what 64 bits hold.
    var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return seconds < 0 ? .min : .max }
        let (sum, carry) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
        return carry ? .max : sum
    }
}
