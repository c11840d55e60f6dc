internal import CSluice
internal import Glibc

/// Shared words at a fixed address: a mapped file, or plain memory in tests.
// Safety: the address is valid for `byteCount` bytes from `init` to `deinit` and never changes; the
// memory behind it is accessed only by the atomic operations of CSluice, with checked offsets.
@safe
package final class MappedWords: SharedWords, @unchecked Sendable {
    private let address: UnsafeMutableRawPointer
    private let release: (UnsafeMutableRawPointer, Int) -> Void
    /// The mapping's size.
    package let byteCount: Int

    /// Takes over memory.
    init(
        address: UnsafeMutableRawPointer,
        byteCount: Int,
        release: @escaping (UnsafeMutableRawPointer, Int) -> Void
    ) {
        unsafe self.address = address
        self.byteCount = byteCount
        unsafe self.release = release
    }

    /// Makes zeroed words in this process's memory, for file systems that have no files.
    package convenience init(byteCount: Int) {
        let address = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
        unsafe address.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
        unsafe self.init(address: address, byteCount: byteCount) { address, _ in
            unsafe address.deallocate()
        }
    }

    deinit {
        unsafe release(address, byteCount)
    }

    /// The 32-bit word at a byte offset.
    package func load32(_ byteOffset: Int) -> UInt32 {
        unsafe sluice_load32(word32(byteOffset))
    }

    /// Replaces the 32-bit word at a byte offset.
    package func store32(_ byteOffset: Int, _ value: UInt32) {
        unsafe sluice_store32(word32(byteOffset), value)
    }

    /// Adds to the 32-bit word at a byte offset; returns the value before.
    @discardableResult
    package func add32(_ byteOffset: Int, _ value: UInt32) -> UInt32 {
        unsafe sluice_add32(word32(byteOffset), value)
    }

    /// The 64-bit word at a byte offset.
    package func load64(_ byteOffset: Int) -> UInt64 {
        unsafe sluice_load64(word64(byteOffset))
    }

    /// Replaces the 64-bit word at a byte offset.
    package func store64(_ byteOffset: Int, _ value: UInt64) {
        unsafe sluice_store64(word64(byteOffset), value)
    }

    /// Blocks while the 32-bit word equals `expected` (`futex(2)`).
    package func wait32(_ byteOffset: Int, while expected: UInt32, timeoutNanoseconds: Int64) {
        unsafe _ = sluice_futex_wait(word32(byteOffset), expected, timeoutNanoseconds)
    }

    /// Wakes everyone who waits for the 32-bit word.
    package func wake32(_ byteOffset: Int) {
        unsafe _ = sluice_futex_wake(word32(byteOffset), Int32.max)
    }

    /// The checked address of a 32-bit word.
    private func word32(_ byteOffset: Int) -> UnsafeMutablePointer<UInt32> {
        precondition(byteOffset >= 0 && byteOffset % 4 == 0 && byteOffset + 4 <= byteCount)
        return unsafe (address + byteOffset).assumingMemoryBound(to: UInt32.self)
    }

    /// The checked address of a 64-bit word.
    private func word64(_ byteOffset: Int) -> UnsafeMutablePointer<UInt64> {
        precondition(byteOffset >= 0 && byteOffset % 8 == 0 && byteOffset + 8 <= byteCount)
        return unsafe (address + byteOffset).assumingMemoryBound(to: UInt64.self)
    }
}
