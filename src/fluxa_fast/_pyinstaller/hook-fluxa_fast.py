"""What PyInstaller can't find by reading imports: the implementation that is chosen at run time, and the scripts."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

hiddenimports = [*collect_submodules("fluxa_fast.protocol"), "msgpack", "redis"]
datas = collect_data_files("fluxa_fast", includes=["scripts/*.lua", "py.typed"])
