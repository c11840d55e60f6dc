/// One file of the dashboard and the portal, compiled in from `web/`.
package struct WebFile: Sendable {
    /// Path below `web/`, such as `assets/style.css`.
    package let name: String

    /// SHA-256 of the content in hexadecimal.
    package let sha256: String

    /// The content; all files are text.
    package let content: String

    /// A file that the generated list names.
    init(name: String, sha256: String, content: String) {
        self.name = name
        self.sha256 = sha256
        self.content = content
    }

    /// The path under which it is served: `index.html` is `/`, other pages go without `.html`.
    package var path: String {
        if name == "index.html" { return "/" }
        return "/" + (name.hasSuffix(".html") ? String(name.dropLast(5)) : name)
    }

    /// The media type by the name's ending.
    package var mediaType: String {
        switch name.split(separator: ".").last {
        case "html": "text/html; charset=utf-8"
        case "css": "text/css; charset=utf-8"
        case "js": "text/javascript; charset=utf-8"
        case "svg": "image/svg+xml"
        default: "application/octet-stream"
        }
    }
}
