internal import CSluice

/// A counter in this process's memory that threads can block on until it changes.
///
/// Ringing costs no system call while nobody waits.
package final class Doorbell: Sendable {
    private let words: Words

    /// Makes a doorbell whose count is zero.
    package init() {
        words = Words()
    }

    /// How often the bell has been rung, wrapping.
    package var count: UInt32 {
        unsafe sluice_load32(words.count)
    }

    /// Adds one to the count and wakes every waiting thread.
    package func ring() {
        unsafe _ = sluice_add32(words.count, 1)
        if unsafe sluice_load32(words.waiters) != 0 {
            unsafe _ = sluice_futex_wake(words.count, Int32.max)
        }
    }

    /// Blocks the calling thread until the count differs from `count` or the time is up.
    ///
    /// - Parameters:
    ///   - count: The count that the caller has seen.
    ///   - timeoutNanoseconds: The longest wait; negative waits without limit.
    /// - Returns: The count now; equal to `count` after a timeout (or a spurious wake-up).
    @discardableResult
    package func wait(since count: UInt32, timeoutNanoseconds: Int64 = -1) -> UInt32 {
        unsafe _ = sluice_add32(words.waiters, 1)
        unsafe _ = sluice_futex_wait(words.count, count, timeoutNanoseconds)
        unsafe _ = sluice_add32(words.waiters, UInt32.max)
        return unsafe sluice_load32(words.count)
    }
}

/// The two words of a doorbell at an address that never moves.
// Safety: the pointers are written once in `init`; what they point to is only accessed atomically.
@safe
private final class Words: @unchecked Sendable {
    let count: UnsafeMutablePointer<UInt32>
    let waiters: UnsafeMutablePointer<UInt32>

    init() {
        unsafe count = .allocate(capacity: 2)
        unsafe count.initialize(repeating: 0, count: 2)
        unsafe waiters = count + 1
    }

    deinit {
        unsafe count.deallocate()
    }
}
