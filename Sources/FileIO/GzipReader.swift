/// Reads a file front to back, inflating it when it is gzip (members concatenated) and as it is
/// otherwise.
package final class GzipReader {
    private let file: any File

    /// Starts reading a file.
    ///
    /// - Parameter file: The file; looked at from its beginning.
    package init(_ file: any File) throws(FileIOError) {
        self.file = file
    }

    /// Appends the next bytes of the decompressed content.
    ///
    /// - Parameters:
    ///   - count: How many bytes at most; at least 1.
    ///   - buffer: Where they are appended.
    /// - Returns: How many bytes were appended; 0 at the end.
    package func read(_ count: Int, appendingTo buffer: inout [UInt8]) throws(FileIOError) -> Int {
        0
    }
}
