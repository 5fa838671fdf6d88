"""Plan everything that is stale at once, in spite of a fault of Snakemake."""

import collections
import functools

from snakemake.dag import DAG

# A job that must run hides what depends on it from the search for further reasons, as that runs anyway. It does not where
# the only way to it leads over ancient inputs: it is then never looked at, and a run that has to repeat the validation
# would leave the rest as it was and call itself done (github.com/snakemake/snakemake/issues/4166, seen in 9.27).


def hidden_by(dag, direction, *jobs, stop=None):
    """Jobs that depend on others by more than ancient inputs, breadth first; takes the place of `DAG.bfs` there."""
    queue = collections.deque(jobs)
    seen = set(queue)
    while queue:
        job = queue.popleft()
        yield job
        for other, files in direction[job].items():
            if other not in seen and not all(file.is_ancient for file in files):
                seen.add(other)
                queue.append(other)


def planning(update_needrun):
    """Wrap `DAG.update_needrun` so that it searches with `hidden_by`."""

    @functools.wraps(update_needrun)
    async def planned(self, *arguments, **options):
        self.bfs = functools.partial(hidden_by, self)
        try:
            return await update_needrun(self, *arguments, **options)
        finally:
            del self.bfs

    return planned


if not hasattr(DAG.update_needrun, "__wrapped__"):
    DAG.update_needrun = planning(DAG.update_needrun)
