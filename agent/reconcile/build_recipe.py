"""What the engine is told of a build, from a spec. Pure."""

from __future__ import annotations

from agent.manifest.spec import BuildSecret, ContainerSpec
from agent.policy.judge import bind_root
from agent.policy.policy import Policy
from runtime.build_recipe import BuildRecipe, NamedSource, SecretSource
from runtime.model import Ulimit


def build_recipe(spec: ContainerSpec, policy: Policy) -> BuildRecipe:
    """policy: says where a secret's file must lie, whatever links say."""
    build = spec.build
    assert build is not None  # of one that is
    return BuildRecipe(
        context=build.context,
        tree=build.tree,
        dockerfile=build.dockerfile,
        dockerfile_text=build.dockerfile_inline or None,
        arguments=dict(build.args),
        labels=dict(build.labels),
        target=build.target,
        network=build.network,
        no_cache=build.no_cache,
        pull=build.pull,
        tags=build.tags,
        cache_from=build.cache_from,
        cache_to=build.cache_to,
        platform=build.platform,
        secrets={id: _secret(secret, policy) for id, secret in build.secrets.items()},
        ssh=dict(build.ssh),
        named={
            name: NamedSource(found.image, found.context, found.tree)
            for name, found in build.additional_contexts.items()
        },
        shm_bytes=build.shm_size,
        ulimits=tuple(Ulimit(name, limit.soft, limit.hard) for name, limit in sorted(build.ulimits.items())),
        extra_hosts=build.extra_hosts,
    )


def _secret(secret: BuildSecret, policy: Policy) -> SecretSource:
    below = bind_root(policy, secret.file) if secret.file else ""
    return SecretSource(secret.file, secret.environment, below)
