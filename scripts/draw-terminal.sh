#!/usr/bin/env bash
# Draws the text on stdin as a terminal window, as an SVG on stdout. The argument is the command line that printed the text.
set -euo pipefail

{ printf '%s\n\n' "$1"; cat; } | LC_ALL=C awk '
  # Awk counts bytes in this locale, so the continuation bytes of UTF-8 are removed first.
  function width(text) { gsub(/[\200-\277]/, "", text); return length(text) }

  function escaped(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text); return text }

  { lines[NR] = $0; if (width($0) > columns) columns = width($0) }

  END {
    character = 7.83; line = 18; margin = 20; title = 36
    w = int(columns * character + 2 * margin + 1)
    h = title + NR * line + margin
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" w "\" height=\"" h "\" viewBox=\"0 0 " w " " h "\" role=\"img\">"
    print "<title>Output of " escaped(substr(lines[1], 3)) "</title>"
    print "<style>"
    print "  rect { fill: #ffffff; stroke: #d0d7de }"
    print "  text { fill: #1f2328; font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, \"DejaVu Sans Mono\", monospace; white-space: pre }"
    print "  .command { font-weight: bold }"
    print "  .check { fill: #1a7f37 }"
    print "  @media (prefers-color-scheme: dark) {"
    print "    rect { fill: #0d1117; stroke: #30363d }"
    print "    text { fill: #e6edf3 }"
    print "    .check { fill: #3fb950 }"
    print "  }"
    print "</style>"
    print "<rect x=\"0.5\" y=\"0.5\" width=\"" w - 1 "\" height=\"" h - 1 "\" rx=\"8\"/>"
    print "<circle cx=\"20\" cy=\"18\" r=\"5.5\" fill=\"#ff5f57\"/>"
    print "<circle cx=\"38\" cy=\"18\" r=\"5.5\" fill=\"#febc2e\"/>"
    print "<circle cx=\"56\" cy=\"18\" r=\"5.5\" fill=\"#28c840\"/>"
    for (number = 1; number <= NR; number++) {
      text = escaped(lines[number])
      if (text == "") continue
      sub(/✓/, "<tspan class=\"check\">✓</tspan>", text)
      class = number == 1 ? " class=\"command\"" : ""
      print "<text x=\"" margin "\" y=\"" title + (number - 0.25) * line "\" xml:space=\"preserve\"" class ">" text "</text>"
    }
    print "</svg>"
  }'
