/// Where a file sink writes, and when it begins a new file.
package struct FileSinkConfiguration: Sendable {
    /// The directory; made when it is not there. Nobody else may write to it.
    package let path: String
    /// Whether the files are compressed with gzip.
    package var isCompressed = false
    /// A file is finished once it has so many bytes. Chosen: as large as a segment.
    package var rotateBytes: UInt64 = 256 << 20
    /// A file is finished so long after its first record.
    package var rotateAge: Duration = .seconds(3_600)
    /// The journal is written anew once it has so many bytes. Chosen: read within milliseconds.
    package var journalBytesMax: UInt64 = 1 << 20

    /// Whether it writes beside the pump, into files of its own, what the pump has written before:
    /// it delivers only what no file of the directory holds.
    package var isReplay = false

    /// Files in a directory, with the defaults for all else.
    package init(path: String) {
        self.path = path
    }
}
