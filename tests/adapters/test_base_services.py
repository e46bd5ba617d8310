import pytest

from agent.adapters.files.config import read_settings
from agent.core.model.nouns import ProofKind
from agent.errors import ConfigurationError

IMAGE = '[services.shop.image]\nregistry = "https://r.example"\nrepository = "team/shop"\n'
CI = '[services.shop.ci]\nrepository = "team/shop"\nworkflow = "image.yml"\n'
LOOK = (
    '[[services.shop.look]]\nproof = "dev-digest"\nurl = "https://dev.example/v"\npointer = "/d"\n'
)
COMMAND = '[[services.shop.command]]\nproof = "no-source-rebuild"\nargv = ["ask", "{commit}"]\n'


def read(folder, text):
    path = folder / "wavekeeper.toml"
    path.write_text(text, encoding="utf-8")
    return read_settings(path)


def test_a_whole_service(tmp_path):
    shop = read(tmp_path, IMAGE + CI + LOOK + COMMAND).services["shop"]
    assert shop.proofs == {
        ProofKind.ARTIFACT_BUILT, ProofKind.DIGEST_RECORDED, ProofKind.DEV_DIGEST,
        ProofKind.NO_SOURCE_REBUILD,
    }  # fmt: skip
    assert (shop.timeout, shop.patience, shop.image.reference) == (10.0, 900.0, "{commit}")


def test_without_services_there_are_none(tmp_path):
    assert read(tmp_path, "").services == {}
    assert read(tmp_path, "").issues.kind == "local"


FAULTS = [
    pytest.param(IMAGE.replace("https", "http"), 2, "is not encrypted", id="plain http"),
    pytest.param(IMAGE.replace("https://", ""), 2, "is no address; write one like", id="no scheme"),
    pytest.param(IMAGE.replace("r.example", "u:p@r.example"), 2, "put it into an environment",
                 id="a password in an address"),
    pytest.param(IMAGE.replace("r.example", "r.example/?a=b"), 2, "only where the API begins",
                 id="a query in a base address"),
    pytest.param(IMAGE.replace("team/shop", "Team/Shop"), 3, "is no repository of a registry",
                 id="a repository in capitals"),
    pytest.param(IMAGE + 'reference = "a b"', 4, "is no tag", id="a tag with a space"),
    pytest.param(IMAGE + 'token = "ghp_0123456789abcdef!"', 4, "never write a token here",
                 id="a token in the file"),
    pytest.param(IMAGE + 'user = "SHOP_USER"', 4, "a user needs a token", id="a user alone"),
    pytest.param(IMAGE + 'platfrom = "linux/amd64"', 4, "did you mean 'platform'", id="misspelt"),
    pytest.param(CI.replace("team/shop", "shop"), 2, "write 'owner/name'", id="no owner"),
    pytest.param(CI.replace('workflow = "image.yml"', ""), 1, "name a workflow, or checks",
                 id="CI that is asked nothing"),
    pytest.param(CI.replace("image.yml", "../x"), 3, "is no workflow's file name", id="a path"),
    pytest.param(CI.replace('workflow = "image.yml"', 'artifact = "a"\nchecks = ["u"]'), 3,
                 "name the workflow as well", id="an artifact of no workflow"),
    pytest.param(LOOK.replace("dev-digest", "dev-digset"), 2, "did you mean 'dev-digest'",
                 id="a misspelt proof"),
    pytest.param(LOOK.replace("dev-digest", "commit-pushed"), 2, "cannot be looked up there",
                 id="what only git can tell"),
    pytest.param(LOOK.replace('pointer = "/d"', 'pointer = "d"'), 4, "is no JSON pointer",
                 id="no pointer"),
    pytest.param(LOOK + 'header = "X-D"', 5, "keep one of the two", id="two places"),
    pytest.param(LOOK + 'expect = "x"', 5, "remove 'expect'", id="an expectation of a digest"),
    pytest.param(LOOK.replace('pointer = "/d"', ""), 1, "add a pointer or a header",
                 id="a digest of nowhere"),
    pytest.param(LOOK.replace("dev-digest", "live-health"), 1, "add 'expect'",
                 id="a value without an expectation"),
    pytest.param(LOOK + LOOK.replace("dev-", "prod-"), 7, "asked in the same place",
                 id="dev and production are one"),
    pytest.param(LOOK + "status = 99", 5, "must be at least 100", id="no status"),
    pytest.param(COMMAND.replace("{commit}", "{comit}"), 3, "did you mean 'commit'",
                 id="a misspelt placeholder"),
    pytest.param(COMMAND.replace('["ask", "{commit}"]', '"ask"'), 3, "must be a list",
                 id="a command line"),
    pytest.param(COMMAND.replace('["ask", "{commit}"]', "[]"), 3, "must not be empty",
                 id="no command"),
    pytest.param(COMMAND + "timeout = 5", 4, "is not a duration", id="a time without a unit"),
    pytest.param('[services."a b"]\n', 1, "is no service's name", id="a name with a space"),
    pytest.param('[services.shop]\nauthority = "~/ca.pem"', 2, "'~' is not expanded", id="a tilde"),
    pytest.param('[issues]\nhome = "github"', 2, "need a repository", id="GitHub without a name"),
    pytest.param('[issues]\nhome = "gitlab"', 2, "not one of local, github", id="another home"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), FAULTS)
def test_every_fault_names_its_line_and_a_remedy(tmp_path, text, line, words):
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    assert words in said
    assert said.startswith(f"{tmp_path / 'wavekeeper.toml'}:{line}: ")
    assert len(said.splitlines()) == 1
    assert "ghp_0123456789abcdef" not in said
