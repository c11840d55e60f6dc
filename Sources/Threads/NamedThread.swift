internal import CSluice
internal import Glibc
internal import Synchronization

/// An operating-system thread with a name, for loops that block.
///
/// The closure runs once; `join` waits for its end. The thread keeps itself alive.
package final class NamedThread: Sendable {
    private let handle: Mutex<pthread_t?>

    /// Starts a thread.
    ///
    /// - Parameters:
    ///   - name: Shown by `ps` and debuggers; 15 bytes are kept.
    ///   - body: Runs on the new thread.
    package init(name: String, _ body: @escaping @Sendable () -> Void) {
        let box = unsafe Unmanaged.passRetained(ThreadBody(name: name, body: body))
        var thread = pthread_t()
        let result = unsafe pthread_create(&thread, nil, runThread, box.toOpaque())
        precondition(result == 0, "could not start thread \"\(name)\": errno \(result)")
        handle = Mutex(thread)
    }

    deinit {
        if let thread = handle.withLock({ $0.take() }) {
            pthread_detach(thread)
        }
    }

    /// Waits until the thread's closure has returned; further calls return at once.
    package func join() {
        if let thread = handle.withLock({ $0.take() }) {
            _ = pthread_join(thread, nil)
        }
    }
}

/// What a new thread needs, handed over by a retained reference.
private final class ThreadBody: Sendable {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}

/// Runs on the new thread; takes over the reference that `init` retained.
private func runThread(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context = unsafe context else { return nil }
    let thread = unsafe Unmanaged<ThreadBody>.fromOpaque(context).takeRetainedValue()
    unsafe sluice_name_thread(thread.name)
    thread.body()
    return nil
}
