internal import CSluice
internal import Glibc

/// Why a program could not be run to its end.
package enum ChildProcessError: Error, Sendable, Equatable {
    /// It could not be started; `errno` of `posix_spawn(3)`.
    case notStarted(executable: String, errno: Int32)
    /// It did not end in time, and was killed.
    case timedOut(executable: String, seconds: Int)
}

/// Another program, run to its end on the calling thread.
///
/// Made for programs that leave a daemon behind: the child gets no descriptor of ours beside its
/// three streams, a process group of its own, and default signals, so that nothing of ours, such as
/// a lock or a pipe, lives on in it.
package enum ChildProcess {
    /// Runs a program in the directory "/" with no input.
    ///
    /// - Parameters:
    ///   - executable: The full path of the program.
    ///   - arguments: Its arguments, without its own name.
    ///   - environment: All of its environment, as `NAME=value`.
    ///   - outputPath: The existing file that both of its output streams go to.
    ///   - timeoutSeconds: After which it is killed.
    /// - Returns: Its exit status, or 128 and the number of the signal that ended it.
    package static func run(
        _ executable: String,
        _ arguments: [String],
        environment: [String],
        outputPath: String,
        timeoutSeconds: Int
    ) throws(ChildProcessError) -> Int32 {
        var status: Int32 = 0
        let failure = unsafe withCStrings([executable] + arguments) { arguments in
            unsafe withCStrings(environment) { environment in
                unsafe sluice_run_process(
                    executable,
                    arguments,
                    environment,
                    outputPath,
                    Int32(clamping: timeoutSeconds * 1_000),
                    &status
                )
            }
        }
        switch failure {
        case 0: return status
        case ETIMEDOUT: throw .timedOut(executable: executable, seconds: timeoutSeconds)
        default: throw .notStarted(executable: executable, errno: failure)
        }
    }

    /// Lends a NULL-terminated array of C strings, freed afterwards.
    private static func withCStrings<T>(
        _ strings: [String],
        _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> T
    ) -> T {
        var pointers: [UnsafeMutablePointer<CChar>?] = unsafe []
        for string in strings { unsafe pointers.append(strdup(string)) }
        unsafe pointers.append(nil)
        defer {
            for index in unsafe pointers.indices { unsafe free(pointers[index]) }
        }
        return unsafe pointers.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else {
                preconditionFailure("an array that ends with NULL is not empty")
            }
            return unsafe body(base)
        }
    }
}
