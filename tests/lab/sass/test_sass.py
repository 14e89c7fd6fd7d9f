"""What lab/sass/sass.py reads of a disassembly, and what it complains of."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "lab/sass"))
import sass  # pylint: disable=wrong-import-position


def disassembly(body):
    """A kernel whose one loop consists of these operations and the branch back."""
    operations = ["S2R R0, SR_TID.X", *body, "@!P0 BRA 0x10", "EXIT"]
    lines = [f"        /*{16 * i:04x}*/                   {text} ;        /* 0x0 */" for i, text in enumerate(operations)]
    return "\t\tFunction : _Z4copyPf\n" + "\n".join(lines)


WIDE = ["LDG.E.128 R4, [R2.64]", "STG.E.128 [R8.64], R4", *["FADD R4, R4, R5"] * 20, "MUFU.EX2 R1, R1", "LDS R1, [R2]"]


def loops_of(body):
    found = sass.kernels(disassembly(body))
    return list(sass.loops_of("copy", found["_Z4copyPf"]))


class Sass(unittest.TestCase):
    def test_counts_by_loop_and_class(self):
        whole, loop = loops_of(WIDE)
        self.assertEqual((whole.number, whole.total, loop.number, loop.total), (0, len(WIDE) + 3, 1, len(WIDE) + 1))
        self.assertEqual(loop.counts, {"LDG 16": 1, "STG 16": 1, "float": 20, "MUFU": 1, "LDS": 1, "branch": 1})

    def test_the_table_is_read_as_it_was_written(self):
        loops = loops_of(WIDE)
        table = sass.read_table(sass.page(loops))
        self.assertEqual(list(table), [("copy", "all"), ("copy", "1")])
        self.assertEqual(table[("copy", "1")]["float"], 20)
        self.assertEqual(list(sass.complaints(loops, table)), [])

    def test_a_loop_that_grows_by_more_than_five_per_cent(self):
        table = sass.read_table(sass.page(loops_of(WIDE)))
        self.assertEqual(list(sass.complaints(loops_of(WIDE + ["FADD R4, R4, R5"]), table)), [])  # 4 %
        said = list(sass.complaints(loops_of(WIDE + ["FADD R4, R4, R5"] * 2), table))
        self.assertEqual(said, ["copy, loop 1: 27 instructions, 25 in the table"])

    def test_an_access_that_gets_narrower(self):
        table = sass.read_table(sass.page(loops_of(WIDE)))
        narrow = ["STG.E [R8.64], R4" if text.startswith("STG") else text for text in WIDE]
        said = list(sass.complaints(loops_of(narrow), table))
        self.assertIn("copy, loop 1: 0 STG of 16 bytes, 1 in the table, and more narrow ones", said)

    def test_what_follows_the_products(self):
        text = disassembly(["HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24"] + ["FADD R4, R4, R5"] * 24)
        behind = ["FMUL R4, R4, R5", "STG.E.128 [R8.64], R4", "FMUL R4, R4, R5"]
        first = text.count("\n")
        text += "".join(f"\n        /*{16 * (first + i):04x}*/                   {op} ;  /* 0x0 */"
                        for i, op in enumerate(behind))
        loops = list(sass.loops_of("product", sass.kernels(text)["_Z4copyPf"]))
        self.assertEqual((loops[-1].number, loops[-1].counts), ("end", {"branch": 1, "float": 1, "STG 16": 1}))
        self.assertIn(("product", "end"), sass.read_table(sass.page(loops)))

    def test_a_kernel_that_is_gone(self):
        table = sass.read_table(sass.page(loops_of(WIDE)))
        self.assertEqual(list(sass.complaints([], table)), ["copy: in the table, but not in the build"])


if __name__ == "__main__":
    unittest.main()
