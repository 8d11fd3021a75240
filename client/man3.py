#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Manual pages of the library out of the comments in its header, so that there is one text.

man3.py HEADER --list           the names of all pages, one a line
man3.py HEADER VERSION FOLDER   write them

Each function belongs to the page of the last head before it in the header, and a type to that of the next function; what
stands before the first head is in libbitshed(3). Every function has a page by its own name that leads to its group's.
"""

import re
import sys
import textwrap

HEADS = {
    "libbitshed": "run neural networks through the bitshed daemon",
    "bitshed_open": "connect to the bitshed daemon",
    "bitshed_load": "load and unload neural networks",
    "bitshed_set_bits": "how many bits neural networks spend",
    "bitshed_get_daemon": "what there is: daemon, models, devices, power inputs",
    "bitshed_hold": "keep a neural network at a width",
    "bitshed_infer": "one inference over the bus",
    "bitshed_session_open": "memory shared with the bitshed daemon",
    "bitshed_session_infer": "many inferences through shared memory",
    "bitshed_monitor": "hear of changes",
}
ITEM = re.compile(r"/\*\*(?P<comment>.*?)\*/\s*(?P<code>(?:struct \w+ \{.*?\};|[^;{]*;)(?:\s*BITSHED_API[^;]*;)*)"
                  r"|(?P<bare>(?:enum|struct) \w+ \{.*?\};|BITSHED_API[^;]*;)", re.S)


def lines_of(comment):
    text = re.sub(r"(?m)^[ \t]*\* ?", "", comment.strip())
    return re.sub(r"(?<=[^\n]) Return:\s", "\n\nReturn: ", text).splitlines()


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"@(\w+)", r"\\fI\1\\fR", text)
    text = re.sub(r"\b(bitshed_\w+)\(\)", r"\\fB\1\\fR()", text)
    return "\\&" + text if text[:1] in ".'" else text


def paragraphs(text):
    """Blocks between blank lines, each begun anew where an argument or the return is explained."""
    block = []
    for line in [*text, ""]:
        if block and (not line or re.match(r"@\w+(, @\w+)*: |Return:", line)):
            yield " ".join(block)
            block = []
        if line:
            block.append(line)


def body(text):
    out = []
    for block in paragraphs(text):
        name = re.match(r"@(\w+)((?:, @\w+)*): (.*)", block)
        if name:
            out += [".TP", ".I " + escape(name[1] + name[2].replace("@", "")), escape(name[3])]
        elif block.startswith("Return:"):
            out += [".PP", "Returns " + escape(block[7:].strip())]
        else:
            out += [".PP", escape(block)]
    return out


def code(text):
    if "{" not in text:
        lines = re.sub(r"\s+", " ", text.replace("BITSHED_API ", "")).replace("( ", "(").replace("; ", ";\n").splitlines()
        text = "\n".join(textwrap.fill(line, 78, subsequent_indent=8 * " ") for line in lines)
    return [".PP", ".nf", *(escape(line) for line in text.replace("\t", "    ").splitlines()), ".fi"]


def parse(header):
    """Return: for each page its functions, and pairs of a comment's lines and the code under it"""
    text = open(header, encoding="ascii").read()
    pages, page, types = {head: ([], []) for head in HEADS}, "libbitshed", []
    begin = text.index("#define BITSHED_API")
    for item in ITEM.finditer(text, text.index("\n", begin)):
        declared = item["code"] or item["bare"]
        functions = re.findall(r"\b(bitshed_\w+)\(", declared if "BITSHED_API" in declared else "")
        types.append((lines_of(item["comment"] or ""), declared))
        if not functions and page != "libbitshed":
            continue
        page = next((f for f in functions if f in HEADS), page)
        pages[page][0].extend(functions)
        pages[page][1].extend(types)
        types = []
    first = re.search(r"/\*\n(.*?)\*/", text, re.S)[1]
    pages["libbitshed"][1].insert(0, (lines_of(first), ""))
    return pages


def render(name, version, items):
    functions = ", ".join([name, *(f for f in items[0] if f != name)])
    out = [f'.TH {name.upper()} 3 "" "bitshed {version}" "libbitshed"', ".SH NAME",
           f"{functions} \\- {HEADS[name]}", ".SH SYNOPSIS", ".nf", ".B #include <bitshed/bitshed.h>", ".PP",
           "cc $(pkg\\-config \\-\\-cflags \\-\\-libs libbitshed) ...", ".fi"]
    for _, text in items[1]:
        if text:
            out += code(text)
    out.append(".SH DESCRIPTION")
    for comment, text in items[1]:
        title = re.match(r"((?:struct |enum )?\w+)(?:\(\))? - (.*)", comment[0]) if comment else None
        if title:
            out += [".SS " + title[1] + ("()" if "(" in text else "")]
            comment = [title[2][:1].upper() + title[2][1:], *comment[1:]]
            if (not any(comment[1:2]) or comment[1].startswith("@")) and comment[0][-1] not in ".?":
                comment[0] += "."
        elif comment and text:
            continue
        out += body(comment)
    others = ", ".join(f".BR {p} (3),\n" for p in HEADS if p != name).replace(", .", ".")
    out += [".SH SEE ALSO", others + ".BR bitshed (1),\n.BR bitshedd (8)", ""]
    return "\n".join(out)


def main():
    pages = parse(sys.argv[1])
    if sys.argv[2] == "--list":
        for name, (functions, _) in pages.items():
            print("\n".join(dict.fromkeys([name, *functions])))
        return
    for name, items in pages.items():
        with open(f"{sys.argv[3]}/{name}.3", "w", encoding="ascii") as f:
            f.write(render(name, sys.argv[2], items))
        for function in items[0]:
            if function != name:
                with open(f"{sys.argv[3]}/{function}.3", "w", encoding="ascii") as f:
                    f.write(f".so man3/{name}.3\n")


if __name__ == "__main__":
    main()
