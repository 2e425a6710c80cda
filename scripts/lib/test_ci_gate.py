"""scripts/ci-gate: which base it takes, what it passes on, and its exit codes. With a cargo and a lastmile that only tell."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent


class CiGate(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.root = self.folder / "checkout"
        (self.root / "scripts/lib").mkdir(parents=True)
        shutil.copy(SCRIPTS / "ci-gate", self.root / "scripts/ci-gate")
        shutil.copy(SCRIPTS / "lib/install.sh", self.root / "scripts/lib/install.sh")
        target = self.folder / "target"
        programs = self.folder / "programs"
        self.program(target / "release/lastmile", 'printf "%s\\n" "$@"; exit "${GATE_CODE:-0}"')
        self.program(programs / "cargo", f'[ "$1" != metadata ] || echo \'{{"target_directory":"{target}"}}\'')
        self.program(programs / "cc", "exit 0")
        self.program(programs / "redis-server", "exit 0")
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        self.git("init", "--quiet", "--initial-branch", "main")

    def program(self, path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{content}\n")
        path.chmod(0o755)

    def git(self, *arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
        command = ["git", *identity, *arguments]
        output = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=True)
        return output.stdout.strip()

    def commit(self, name):
        self.git("commit", "--quiet", "--allow-empty", "-m", name)
        return self.git("rev-parse", "HEAD")

    def gate(self, *arguments, **environment):
        return subprocess.run(
            ["bash", "scripts/ci-gate", *arguments],
            cwd=self.root,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
        )

    def passed_on(self, output, flag):
        words = output.stdout.splitlines()
        return words[words.index(flag) + 1]

    def test_without_a_base_it_says_why_it_is_skipped(self):
        self.commit("only")
        output = self.gate()
        self.assertEqual(output.returncode, 0, output.stderr)
        self.assertIn("skipped: there is no base revision", output.stderr)
        self.assertEqual(self.gate(LASTMILE_GATE_REQUIRED="1").returncode, 2)

    def test_the_base_is_the_commit_before_or_where_the_branch_began(self):
        first, second = self.commit("first"), self.commit("second")
        output = self.gate("--budget", "5m")
        self.assertEqual(output.returncode, 0, output.stderr)
        self.assertEqual(self.passed_on(output, "--base"), first)
        self.assertEqual(self.passed_on(output, "--candidate"), "HEAD")
        self.assertEqual(self.passed_on(output, "--budget"), "5m")
        self.git("switch", "--quiet", "--create", "change")
        self.commit("third")
        self.commit("fourth")
        self.assertEqual(self.passed_on(self.gate(GITHUB_BASE_REF="main"), "--base"), second)
        self.assertEqual(self.passed_on(self.gate(LASTMILE_GATE_BASE="main~1"), "--base"), first)

    def test_what_is_named_is_left_alone(self):
        self.commit("only")
        output = self.gate("--base", "x", "--candidate=y", "--build-cmd", "make", "--build-output", "z")
        self.assertEqual(output.stdout.split(), ["gate", *"--base x --candidate=y --build-cmd make --build-output z".split()])

    def test_decisions_are_exit_codes_unless_they_are_advice(self):
        self.commit("first")
        self.commit("second")
        for code in (1, 2, 3, 4):
            self.assertEqual(self.gate(GATE_CODE=str(code)).returncode, code)
            advised = self.gate(GATE_CODE=str(code), LASTMILE_GATE_ADVISORY="1")
            self.assertEqual(advised.returncode, 2 if code == 2 else 0)


if __name__ == "__main__":
    unittest.main()
