def convert(value, wanted): raise NotImplementedError
