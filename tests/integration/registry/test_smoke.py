from .conftest import Registry
async def test_a(registry: Registry) -> None:
    print((await registry.version()).name)
