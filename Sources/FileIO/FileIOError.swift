internal import Glibc

/// A failed file operation: what was attempted, on which path, and the system's reason.
package struct FileIOError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The system call that failed, as its manual page is called ("pwrite").
    package let call: String
    /// The file or directory that it was about.
    package let path: String
    /// The error number, as `errno(3)` lists it.
    package let code: Int32

    /// Describes a failed call.
    ///
    /// - Parameters:
    ///   - call: The system call's name.
    ///   - path: The file or directory.
    ///   - code: The error number.
    package init(call: String, path: String, code: Int32) {
        self.call = call
        self.path = path
        self.code = code
    }

    /// The call, the path and the system's words for the error number.
    package var description: String {
        "could not \(call) \"\(path)\": \(Self.text(of: code)) (errno \(code))"
    }

    /// Whether there was no room: disk, quota or file size limit.
    package var isOutOfSpace: Bool {
        code == ENOSPC || code == EDQUOT || code == EFBIG
    }

    /// Whether the file or directory did not exist.
    package var isNotFound: Bool {
        code == ENOENT
    }

    /// Whether the name was taken already.
    package var isAlreadyThere: Bool {
        code == EEXIST || code == ENOTEMPTY
    }

    /// The system's words for an error number.
    private static func text(of code: Int32) -> String {
        var buffer = [CChar](repeating: 0, count: 128)
        let count = buffer.count
        guard unsafe strerror_r(code, &buffer, count) == 0 else { return "unknown error" }
        let text = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return String(decoding: text, as: UTF8.self)
    }
}

extension FileIOError {
    /// No space left on device.
    package static let outOfSpace: Int32 = ENOSPC
    /// Input/output error.
    package static let inputOutput: Int32 = EIO
    /// No such file or directory.
    package static let notFound: Int32 = ENOENT
    /// File exists.
    package static let alreadyThere: Int32 = EEXIST
    /// Directory not empty.
    package static let notEmpty: Int32 = ENOTEMPTY
    /// Not a directory.
    package static let notDirectory: Int32 = ENOTDIR
    /// Is a directory.
    package static let isDirectory: Int32 = EISDIR
    /// Bad file descriptor: used after `close`.
    package static let closed: Int32 = EBADF
    /// Corrupt data (of a compressed file).
    package static let corruptData: Int32 = EBADMSG
}
