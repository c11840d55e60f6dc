import Foundation

/// The checkout that holds this file, read as text.
struct Repository {
    /// One tracked file.
    struct File {
        /// Path from the top of the checkout, such as `Sources/Records/LogID.swift`.
        let path: String
        /// Its lines, without line ends.
        let lines: [Substring]

        /// The module that a source file belongs to, else nil.
        var module: String? {
            let parts = path.split(separator: "/")
            return parts.first == "Sources" && parts.count > 2 ? String(parts[1]) : nil
        }
    }

    /// Directory that holds `Package.swift`.
    let root: URL

    /// Folders that builds and runs leave behind; none of them is ours to check.
    static let ignoredFolders: Set<String> = [
        ".build", ".git", ".venv", "sluice-data", "__pycache__", ".swiftpm",
    ]

    /// The checkout that this source file was compiled from.
    init(file: String = #filePath) {
        root = URL(fileURLWithPath: file)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    }

    /// All files below the root with one of `extensions`, as text, sorted by path.
    func files(_ extensions: Set<String>) throws -> [File] {
        try paths().filter { extensions.contains(($0 as NSString).pathExtension) }.map { path in
            let data = try Data(contentsOf: root.appendingPathComponent(path))
            let text = String(decoding: data, as: UTF8.self)
            return File(
                path: path,
                lines: text.split(separator: "\n", omittingEmptySubsequences: false)
            )
        }
    }

    /// All paths below the root, without the ignored folders.
    func paths() throws -> [String] {
        var found: [String] = []
        var folders = [""]
        while let folder = folders.popLast() {
            let here = folder.isEmpty ? root : root.appendingPathComponent(folder)
            for name in try FileManager.default.contentsOfDirectory(atPath: here.path) {
                if Self.ignoredFolders.contains(name) || name.hasPrefix(".build") { continue }
                let path = folder.isEmpty ? name : folder + "/" + name
                var isFolder: ObjCBool = false
                let full = root.appendingPathComponent(path).path
                guard unsafe FileManager.default.fileExists(atPath: full, isDirectory: &isFolder)
                else {
                    continue
                }
                if isFolder.boolValue { folders.append(path) } else { found.append(path) }
            }
        }
        return found.sorted()
    }
}
