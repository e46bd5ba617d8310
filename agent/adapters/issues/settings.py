"""`[issues]` of `wavekeeper.toml`: where defects are written down."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from agent.adapters.evidence.settings import Api, GitHubName, Variable
from agent.adapters.files.toml import Folder, Text, TomlModel, fault_at


class IssueSettings(TomlModel):
    """`home = "local"` has no settings of its own, and lets those of GitHub be kept."""

    home: str = "local"
    """`local`: Markdown files in the state folder."""
    repository: GitHubName | None = None
    api: Api = "https://api.github.com"
    token: Variable = "GITHUB_TOKEN"  # noqa: S105 - the name of a variable, not what it holds
    labels: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    authority: Folder | None = None


class GitHubIssueSettings(IssueSettings):
    """`home = "github"`."""

    @model_validator(mode="after")
    def _knows_where(self) -> Self:
        if self.repository is None:
            raise fault_at(("home",), "issues on GitHub need a repository; write 'owner/name'")
        return self
