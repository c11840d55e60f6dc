/// A value that only one thread, of its own, ever touches: for objects whose calls block.
///
/// Pieces of work are done one at a time in the order of the calls. Cancellation does not
/// interrupt a piece of work.
package actor ThreadOwned<Value> {
    private var value: Value
    private let executor: ThreadExecutor

    /// The thread that every piece of work runs on.
    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        unsafe executor.asUnownedSerialExecutor()
    }

    /// Starts the thread.
    ///
    /// - Parameters:
    ///   - name: Shown by `ps` and debuggers; 15 bytes are kept.
    ///   - value: The value; nobody else may keep a reference to it.
    package init(name: String, _ value: sending Value) {
        self.value = value
        executor = ThreadExecutor(name: name)
    }

    deinit { executor.shutdown() }

    /// Does a piece of work with the value, on its thread.
    package func run<T: Sendable, E: Error>(
        _ body: @Sendable (inout Value) throws(E) -> T
    ) async throws(E) -> T {
        try body(&value)
    }
}
